# SPDX-License-Identifier: Apache-2.0
"""What the server needs to continue a run: one file a round, outside the run folder, whole or absent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError
from flap_sam.foundation import lock
from flap_sam.foundation.files import remove_if_empty, replacing, sha256
from flap_sam.foundation.lock import locked
from flap_sam.foundation.names import is_run_name
from flap_sam.foundation.strict import Count, Number, StrictModel, VersionError, parse
from flap_sam.records.candidate import Candidate
from flap_sam.records.run_record import RunRecord
from flap_sam.wire.messages import TrainReport

SERVER = "server"
LATEST = "latest"
OVER = "over"
KEPT = 2
UNREADABLE = (OSError, SafetensorError, ValueError, KeyError, TypeError, FlapSamError)


@dataclass(frozen=True)
class RunState:
    """A run between two rounds.

    Args:
        experiment: the job's.
        first: the report that all sites must be like; see `controller`.
        current: the payload that the next round starts from.
        best: the payload with the best validation Dice so far; None before there is one.
        memory: the aggregator's tensors, by name.
        log: the round log so far.
        record: of the run so far.
    """

    experiment: Experiment
    first: TrainReport
    current: Candidate
    best: Candidate | None
    memory: Mapping[str, Tensor]
    log: str
    record: RunRecord


class _Scored(StrictModel):
    """What a payload is called and how it has been scored, see `Candidate`."""

    round: Count
    validation: Mapping[str, Sequence[Number | None]]


class _Notes(StrictModel):
    """What a state's file says beside its tensors, see `RunState`; `round` is the next one."""

    version: Literal[2] = 2
    experiment: str
    first: TrainReport
    round: Count
    best: _Scored | None
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
        self._root, self._over = root, self.folder / OVER

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
        scored = _Scored(round=state.best.round, validation=state.best.validation) if state.best else None
        notes = _Notes(
            experiment=state.experiment.to_json(),
            first=state.first,
            round=state.current.round,
            best=scored,
            log=state.log,
            record=state.record,
        )
        with replacing(path) as stream:
            stream.write(save({n: t.contiguous() for n, t in tensors.items()}, metadata={"notes": notes.to_json()}))
        with replacing(_hash_file(path)) as stream:
            stream.write(sha256(path).encode())
        self._over.unlink(missing_ok=True)
        self._keep(KEPT)

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
                raise ValueError("it is damaged: its hash differs")
            notes, tensors = _notes(path), load_file(path)
            scored = notes.best
            best = Candidate(_part(tensors, "best/"), scored.round, scored.validation) if scored else None
            return RunState(
                experiment=Experiment.from_json(notes.experiment),
                first=notes.first,
                current=Candidate(_part(tensors, "current/"), notes.round),
                best=best,
                memory=_part(tensors, "memory/"),
                log=notes.log,
                record=notes.record,
            )
        except VersionError as error:
            raise FlapSamError(
                f"State {path} cannot be read ({error}); resume the run with the flap-sam that conducted it, or start "
                "it anew with resume null."
            ) from error
        except UNREADABLE as error:
            raise FlapSamError(
                f"State {path} cannot be read ({error}); remove it to resume a round earlier."
            ) from error

    def standing(self) -> tuple[Experiment, int] | None:
        """The run's experiment and its next round; None where none of its states can say it."""
        for path in reversed(self._files()):
            with suppress(*UNREADABLE):
                notes = _notes(path)
                return Experiment.from_json(notes.experiment), notes.round
        return None

    def is_over(self) -> bool:
        """Whether a job has conducted the run to its end."""
        return self._over.exists()

    def close(self) -> None:
        """Mark the run as over and keep its newest state alone, as a later job may continue it to more rounds.

        The states of all other runs that are over are removed, so that a machine keeps one of these at most.
        """
        self._keep(1)
        with replacing(self._over):
            pass
        for run in sorted(path.parent.parent.name for path in self._root.glob(f"*/{SERVER}/{OVER}")):
            if run != self.run and is_run_name(run):
                RunStore(self._root, run)._forget()

    def _forget(self) -> None:
        """Remove the states, unless a server has just taken the run up again."""
        with suppress(FlapSamError), self.held():
            if self.is_over():
                self._keep(0)
                self._over.unlink()

    def _keep(self, newest: int) -> None:
        files = self._files()
        for path in files[: len(files) - newest]:
            path.unlink(missing_ok=True)
            _hash_file(path).unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("round_*.safetensors"))


def find(root: Path, wanted: str, job: Experiment, say: Callable[[str], None]) -> RunStore:
    """The run to resume: by its name, or the latest of the job's experiment that has something left to do.

    Args:
        say: is told of runs that are passed over because their states cannot be read.

    Raises:
        FlapSamError: that is no run's name, or no run of the experiment has a state.
    """
    if wanted != LATEST:
        return RunStore(root, wanted)
    runs = {path.parent.parent.name for path in root.glob(f"*/{SERVER}/round_*.safetensors")}
    for run in sorted(filter(is_run_name, runs), reverse=True):
        store = RunStore(root, run)
        if (found := store.standing()) is None:
            say(f"run {run} is passed over: none of its states in {store.folder} can be read")
        elif _lacks(store, *found, job) is None:
            return store
    raise FlapSamError(
        f"No run of this experiment has a state in {root} and rounds left; start it anew with resume null, or set more "
        "`rounds`."
    )


def check_goes_on(store: RunStore, state: RunState, job: Experiment) -> None:
    """Raise a FlapSamError that says why a run cannot go on with a job's experiment."""
    if lack := _lacks(store, state.experiment, state.current.round, job):
        raise FlapSamError(f"Run {store.run} {lack}.")


def _lacks(store: RunStore, before: Experiment, reached: int, job: Experiment) -> str | None:
    """Why a run cannot go on with a job's experiment, as the rest of a sentence about it."""
    if before != job and not job.is_longer(before):
        there, here = dict(before), dict(job)
        apart = [f"{name} was {there[name]!r} and is {here[name]!r}" for name in here if there[name] != here[name]]
        return (
            f"is of another experiment than this job: {', '.join(apart)}; resume it with its own, in which `rounds` "
            "alone may be more"
        )
    if store.is_over() and reached >= job.rounds:
        return f"is over after its {reached} rounds; set more `rounds` to go on"
    return None


def _notes(path: Path) -> _Notes:
    with safe_open(path, framework="pt") as file:
        return parse(_Notes, file.metadata()["notes"])


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _hash_file(path: Path) -> Path:
    return path.with_suffix(".sha256")
