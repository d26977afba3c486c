"""What the server needs to continue a run: one file a round, outside the run folder, whole or absent."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from flap_sam.errors import FlapSamError
from flap_sam.foundation import lock
from flap_sam.foundation.files import remove_if_empty, replacing, sha256
from flap_sam.foundation.lock import locked
from flap_sam.foundation.names import is_run_name
from flap_sam.records.candidate import Candidate
from flap_sam.records.run_record import RunRecord
from flap_sam.wire.messages import TrainReport

SERVER = "server"
LATEST = "latest"
KEPT = 2
UNREADABLE = (OSError, SafetensorError, ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class RunState:
    """A run between two rounds.

    Args:
        experiment: digest of the job's experiment.
        first: the report that all sites must be like; see `controller`.
        current: the payload that the next round starts from.
        best: the payload with the best validation Dice so far; None before there is one.
        memory: the aggregator's tensors, by name.
        log: the round log so far.
        record: of the run so far.
    """

    experiment: str
    first: TrainReport
    current: Candidate
    best: Candidate | None
    memory: Mapping[str, Tensor]
    log: str
    record: RunRecord


class RunStore:
    """The server's states of one run.

    Args:
        root: the folder for all runs' states of this machine (see `Site.state_root`).
        run: the run's name.

    Raises:
        FlapSamError: that is none, and might lead out of `root`.
    """

    def __init__(self, root: Path, run: str) -> None:
        if not is_run_name(run):
            raise FlapSamError(f"The run's name is {run!r}; expected small letters, digits and dashes, at most 64.")
        self.run = run
        self.folder = root / run / SERVER

    @contextmanager
    def held(self) -> Iterator[None]:
        """Alone with the run: no other server conducts it meanwhile.

        Raises:
            FlapSamError: it still goes on, by a server that is named.
        """
        with locked(self.folder / lock.NAME, f"Run {self.run} still goes on: its state"):
            yield
        remove_if_empty(self.folder, self.folder.parent)

    def save(self, state: RunState) -> None:
        """Write the state of a run whose next round is `state.current.round`, with its hash beside it."""
        path = self.folder / f"round_{state.current.round:05}.safetensors"
        tensors = {f"current/{name}": tensor for name, tensor in state.current.tensors.items()}
        tensors |= {f"best/{name}": tensor for name, tensor in (state.best.tensors if state.best else {}).items()}
        tensors |= {f"memory/{name}": tensor for name, tensor in state.memory.items()}
        notes = {
            "experiment": state.experiment,
            "first": asdict(state.first),
            "round": state.current.round,
            "best": state.best and [state.best.round, dict(state.best.validation)],
            "log": state.log,
            "record": state.record.to_json(),
        }
        with replacing(path) as stream:
            stream.write(save({n: t.contiguous() for n, t in tensors.items()}, metadata={"notes": json.dumps(notes)}))
        with replacing(_hash_file(path)) as stream:
            stream.write(sha256(path).encode())
        for old in self._files()[:-KEPT]:
            _remove(old)

    def load(self) -> RunState:
        """The newest state that was written to its end, which its hash says.

        Raises:
            FlapSamError: there is none, or it is damaged.
        """
        paths = [path for path in self._files() if _hash_file(path).exists()]
        if not paths:
            raise FlapSamError(f"Run {self.run} has no state in {self.folder}; start it anew with resume null.")
        path = paths[-1]
        try:
            if _hash_file(path).read_text() != sha256(path):
                raise FlapSamError(f"State {path} is damaged: its hash differs; remove it to resume a round earlier.")
            with safe_open(path, framework="pt") as file:
                notes = json.loads(file.metadata()["notes"])
            record, tensors = RunRecord.from_json(notes["record"]), load_file(path)
            best = notes["best"] and Candidate(_part(tensors, "best/"), notes["best"][0], dict(notes["best"][1]))
        except UNREADABLE as error:
            raise FlapSamError(
                f"State {path} cannot be read ({error}); remove it to resume a round earlier."
            ) from error
        return RunState(
            experiment=notes["experiment"],
            first=TrainReport(**notes["first"]),
            current=Candidate(_part(tensors, "current/"), notes["round"]),
            best=best,
            memory=_part(tensors, "memory/"),
            log=notes["log"],
            record=record,
        )

    def experiment(self) -> str | None:
        """The digest of the run's experiment; None where none of its states can say it."""
        for path in reversed(self._files()):
            with suppress(*UNREADABLE), safe_open(path, framework="pt") as file:
                return json.loads(file.metadata()["notes"])["experiment"]
        return None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("round_*.safetensors"))

    def remove(self) -> None:
        """Forget a run that is over; its results hold what it made."""
        for path in self._files():
            _remove(path)
        remove_if_empty(self.folder, self.folder.parent)


def find(root: Path, wanted: str, experiment: str, say: Callable[[str], None]) -> RunStore:
    """The run to resume: by its name, or the latest of the experiment.

    Args:
        experiment: digest of the job's experiment.
        say: is told of runs that are passed over because their states cannot be read.

    Raises:
        FlapSamError: that is no run's name, or no run of the experiment has a state.
    """
    if wanted != LATEST:
        return RunStore(root, wanted)
    runs = {path.parent.parent.name for path in root.glob(f"*/{SERVER}/round_*.safetensors")}
    for run in sorted(filter(is_run_name, runs), reverse=True):
        store = RunStore(root, run)
        if (found := store.experiment()) == experiment:
            return store
        if found is None:
            say(f"run {run} is passed over: none of its states in {store.folder} can be read")
    raise FlapSamError(f"No run of this experiment has a state in {root}; start it anew with resume null.")


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _hash_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _hash_file(path).unlink(missing_ok=True)
