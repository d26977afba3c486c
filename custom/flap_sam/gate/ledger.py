# SPDX-License-Identifier: Apache-2.0
"""What a site has answered so far, over all jobs: which rounds of which run, and how much left without noise."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.files import replacing
from flap_sam.foundation.strict import StrictModel, VersionError, parse
from flap_sam.gate.agreement import Agreement
from flap_sam.gate.audit import AuditLog
from flap_sam.wire.messages import TASK_TRAIN

FILE_NAME = "gate_ledger.json"

Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Turn:
    """One question of a job.

    Args:
        experiment: digest of the job's experiment.
        task: train or evaluate.
    """

    job: str
    run: str
    experiment: str
    task: str
    round: int


class LedgerRun(StrictModel):
    """What a site has answered in one run.

    Args:
        experiment: digest of the experiment it belongs to.
        shorter: digests of the experiments that it belonged to before it went on to more rounds.
        jobs: that conducted it, the current one last.
        trained: the last round that was answered; None before there is one.
        repeats: how many rounds have been answered a second time.
        answers, evaluations: how many answers left in all, to either task. A failure that the data may have a part in
            is an answer too: it tells one bit of them.
    """

    experiment: str
    shorter: tuple[str, ...] = ()
    jobs: tuple[str, ...]
    trained: Count | None = None
    repeats: Count = 0
    answers: Count = 0
    evaluations: Count = 0

    @property
    def experiments(self) -> tuple[str, ...]:
        """Digests of all experiments that it is a run of."""
        return (*self.shorter, self.experiment)

    def of(self, experiment: str) -> "LedgerRun":
        """The run as it goes on with an experiment."""
        if experiment == self.experiment:
            return self
        return self.model_copy(update={"experiment": experiment, "shorter": self.experiments})


class Ledger(StrictModel):
    """The site's memory of its answers.

    Args:
        runs: by name.
        noised: how many updates left with noise, by noise multiplier, as text.
        bare: how many answers left without noise.
    """

    version: Literal[2] = 2
    runs: Mapping[str, LedgerRun] = {}
    noised: Mapping[str, Count] = {}
    bare: Count = 0

    def check(self, turn: Turn, agreement: Agreement) -> None:
        """Refuse a question beyond what was agreed, or one that this site has answered.

        A job conducts one run. A run belongs to one experiment, and its rounds rise. A job that continues it may ask
        once more for its last round, as often as agreed, and for none before that; the job it continues is over then.
        It may continue it with an experiment that has more rounds, where the site agrees to both: that counts as a run
        of either, and all that was counted before stays counted.

        Raises:
            FlapSamError: see above.
        """
        elsewhere = [name for name, run in self.runs.items() if turn.job in run.jobs and name != turn.run]
        if elsewhere:
            raise FlapSamError(f"Job {turn.job} asks for run {turn.run}; it conducts run {elsewhere[0]}.", Reason.RUN)
        run = self.runs.get(turn.run)
        if run is None:
            self._check_new(turn, agreement)
            run = LedgerRun(experiment=turn.experiment, jobs=(turn.job,))
        if run.experiment != turn.experiment:
            self._check_longer(run, turn, agreement)
            run = run.of(turn.experiment)
        if turn.job in run.jobs[:-1]:
            raise FlapSamError(f"Run {turn.run} goes on in another job than {turn.job}.", Reason.RUN)
        if turn.task == TASK_TRAIN:
            _check_round(turn, run, agreement)
        elif run.evaluations >= (agreed := agreement.evaluations * len(run.experiments)):
            raise FlapSamError(
                f"Run {turn.run} asks for evaluation {run.evaluations + 1}; the site has agreed to {agreed}.",
                Reason.EVALUATIONS,
            )

    def _check_longer(self, run: LedgerRun, turn: Turn, agreement: Agreement) -> None:
        """Refuse another experiment in a run, but for one with more rounds, in another job than before."""
        agreed = {experiment.digest(): experiment for experiment in agreement.experiments}
        before, now = agreed.get(run.experiment), agreed.get(turn.experiment)
        if turn.job in run.jobs or before is None or now is None or not now.is_longer(before):
            raise FlapSamError(
                f"Run {turn.run} began with another experiment than the task's; another job may go on with more rounds "
                "and nothing else changed, where the agreement lists both experiments.",
                Reason.RUN,
            )
        self._check_new(turn, agreement)

    def _check_new(self, turn: Turn, agreement: Agreement) -> None:
        begun = sum(turn.experiment in run.experiments for run in self.runs.values())
        if begun >= agreement.runs:
            raise FlapSamError(
                f"Run {turn.run} would be run {begun + 1} of its experiment; the site has agreed to {agreement.runs}.",
                Reason.RUNS,
            )

    def answered(self, turn: Turn, bare: bool, noise_multiplier: float | None = None) -> "Ledger":
        """The ledger once a question has been answered.

        Args:
            bare: the answer tells of the data without noise.
            noise_multiplier: of the noise on the update in it; None where there is none.
        """
        run = self.runs.get(turn.run, LedgerRun(experiment=turn.experiment, jobs=())).of(turn.experiment)
        jobs = run.jobs if turn.job in run.jobs else (*run.jobs, turn.job)
        if turn.task == TASK_TRAIN:
            repeats = run.repeats + (turn.round == run.trained)
            changes = {"trained": turn.round, "repeats": repeats, "answers": run.answers + 1}
        else:
            changes = {"evaluations": run.evaluations + 1}
        noised = self.noised if noise_multiplier is None else self._spent(noise_multiplier)
        return self.model_copy(
            update={
                "runs": {**self.runs, turn.run: run.model_copy(update={"jobs": jobs, **changes})},
                "noised": noised,
                "bare": self.bare + bare,
            }
        )

    def releases(self, noise_multiplier: float) -> dict[float, int]:
        """All updates that left with noise, by noise multiplier, and one more."""
        return {float(multiplier): count for multiplier, count in self._spent(noise_multiplier).items()}

    def _spent(self, noise_multiplier: float) -> dict[str, int]:
        key = str(float(noise_multiplier))
        return {**self.noised, key: self.noised.get(key, 0) + 1}


@dataclass(frozen=True)
class LedgerFile:
    """The ledger on the disk, held by this process alone.

    Args:
        log: of the same site.
    """

    path: Path
    log: AuditLog

    def read(self) -> Ledger:
        """The ledger; an empty one at a site that nothing has left so far.

        Raises:
            FlapSamError: it is damaged, or missing though something has left. What has left is not known then, so
                nothing may.
        """
        try:
            return parse(Ledger, self.path.read_bytes())
        except FileNotFoundError as error:
            if self.log.has_releases():
                raise self._refused(f"missing, but {self.log.path} tells of answers that left") from error
            return Ledger()
        except VersionError as error:
            raise FlapSamError(
                f"The gate's ledger {self.path} cannot be used: {error}; its counts hold, so go on with a flap-sam "
                "that reads it.",
                Reason.LEDGER,
            ) from error
        except (OSError, ValueError) as error:
            raise self._refused(f"damaged ({error})") from error

    def write(self, ledger: Ledger) -> None:
        """Keep a ledger; on return it is on the disk."""
        try:
            with replacing(self.path, private=True) as stream:
                stream.write(ledger.to_json().encode())
        except FlapSamError as error:
            raise FlapSamError(str(error), Reason.LEDGER) from error

    def _refused(self, found: str) -> FlapSamError:
        return FlapSamError(f"The gate's ledger {self.path} is {found}; bring it back from a backup.", Reason.LEDGER)


@contextmanager
def held(folder: Path, log: AuditLog) -> Iterator[LedgerFile]:
    """The ledger in a folder, for this process alone until the block ends.

    Raises:
        FlapSamError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / f"{FILE_NAME}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise FlapSamError(f"The gate's folder {folder} cannot be written ({error}).", Reason.LEDGER) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield LedgerFile(folder / FILE_NAME, log)
    finally:
        os.close(lock)


def _check_round(turn: Turn, run: LedgerRun, agreement: Agreement) -> None:
    """Rounds rise; the last one may be asked for again by the job that continues the run, as often as agreed."""
    if run.trained is None:
        return
    may_repeat = turn.job not in run.jobs and run.repeats < agreement.repeats
    first = run.trained if may_repeat else run.trained + 1
    if turn.round < first:
        raise FlapSamError(
            f"The server asks again to train round {turn.round}; expected round {first} or later.", Reason.REPLAYED
        )
