"""What a site has released so far, over all jobs: which rounds of which run, and how much noise stood before them."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flap_sam.errors import FlapSamError
from flap_sam.federation.messages import TASK_TRAIN
from flap_sam.files import replacing

FILE_NAME = "gate_ledger.json"


@dataclass
class Ledger:
    """The site's memory of its releases.

    Args:
        rounds: by run, the last round trained and the job it belonged to, and that job's evaluations.
        noise: how many releases were made by noise multiplier, as text.
    """

    rounds: dict[str, dict] = field(default_factory=dict)
    noise: dict[str, int] = field(default_factory=dict)

    def admit(self, run: str, job: str, task: str, number: int) -> None:
        """Refuse a round that this site has already answered.

        A job asks for rising rounds, and evaluates each payload once. A run that another job continues may ask
        again for its last round, whose answer the server may have lost, and for none before it.
        """
        last = self.rounds.get(run)
        if last is None:
            return
        again = last["job"] == job
        if task == TASK_TRAIN and (number < last["train"] or (again and number == last["train"])):
            raise _replayed(task, number, f"round {last['train'] + again} or later")
        if task != TASK_TRAIN and again and number in last["evaluate"]:
            raise _replayed(task, number, "a payload that was not evaluated before")

    def note(self, run: str, job: str, task: str, number: int) -> None:
        """Remember a release."""
        last = self.rounds.get(run, {"train": -1})
        if last.get("job") != job:
            last = {"job": job, "train": last["train"], "evaluate": []}
        if task == TASK_TRAIN:
            last["train"] = number
        else:
            last["evaluate"].append(number)
        self.rounds[run] = last

    def spend(self, noise_multiplier: float) -> None:
        """Count a noised release."""
        self.noise = {str(multiplier): count for multiplier, count in self.releases(noise_multiplier, 1).items()}

    def releases(self, noise_multiplier: float, more: int) -> dict[float, int]:
        """All noised releases so far, and some more."""
        counted = {float(multiplier): count for multiplier, count in self.noise.items()}
        counted[noise_multiplier] = counted.get(noise_multiplier, 0) + more
        return counted


@contextmanager
def opened(folder: Path) -> Iterator[Ledger]:
    """The ledger in a folder, for this process alone; written back when the block ends without an error.

    Raises:
        FlapSamError: it is damaged. Nothing may leave then, as what has left is not known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    with (folder / f"{FILE_NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            ledger = Ledger(**json.loads(path.read_text())) if path.exists() else Ledger()
        except (ValueError, TypeError) as error:
            raise FlapSamError(
                f"The gate's ledger {path} is damaged ({error}); bring it back from a backup.",
                public="the site's ledger is damaged, so nothing leaves it",
            ) from error
        yield ledger
        with replacing(path) as stream:
            stream.write((json.dumps(asdict(ledger), indent=1) + "\n").encode())


def _replayed(task: str, number: int, expected: str) -> FlapSamError:
    message = f"The server asks again to {task} round {number}; expected {expected}."
    return FlapSamError(message, public=message)
