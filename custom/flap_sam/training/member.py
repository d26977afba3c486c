# SPDX-License-Identifier: Apache-2.0
"""A site that does the server's tasks, one after another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from flap_sam.config.experiment import Experiment
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError, Reason
from flap_sam.training.evaluate import evaluation, mean_by_class, write_cases
from flap_sam.training.participant import Participant
from flap_sam.training.progress import Say, silent
from flap_sam.wire import payload
from flap_sam.wire.exchange import Answer, Task
from flap_sam.wire.messages import TASK_TRAIN, TrainReport, check_version, clean_reason, run_name, to_meta

Join = Callable[[Experiment, str], Participant]


class Member:
    """Trains and scores the payloads that the server sends.

    Nothing is needed in memory between two tasks: the site keeps its state on disk (see `training.site_state`), and
    after an error the next task starts from there.

    Args:
        join: makes the site's participant for an experiment and the name of a run.
    """

    def __init__(self, join: Join) -> None:
        self._join = join
        self._participant: Participant | None = None
        self._joined: tuple[Experiment, str] | None = None

    def train(self, task: Task, stopped: Callable[[], bool], say: Say) -> Answer:
        """Score the payload on the validation cases, then train a round from it.

        Args:
            stopped: asked before every step; if it says so, the round ends in an error.
            say: takes a line now and then on how far the round is.

        Raises:
            FlapSamError: task or payload are refused, the site cannot do it, or it was stopped.
        """
        with self._at_work(task) as participant:
            update, report = train_round(participant, task.round, stopped, say)
            return Answer(task.round, update, to_meta(report))

    def score(self, task: Task, pictures: Path, cases: Path, of: SiteStore | None = None) -> Answer:
        """Score the payload on the validation and the test cases.

        Args:
            pictures: the folder for pictures of the test cases; cases: the folder for a table of them.
            of: a store to score in place of those that the participant trains on.

        Raises:
            FlapSamError: task or payload are refused, or the site cannot do it.
        """
        with self._at_work(task) as participant:
            participant.restore_to_score(task.round)
            gallery = participant.gallery(pictures, task.round, of)
            validation, test = participant.score("validation", of=of), participant.score("test", gallery, of)
            if gallery:
                gallery.write()
            write_cases(cases / f"test_cases_round_{task.round:05}.csv", test)
            return Answer(task.round, {}, to_meta(evaluation(validation, test, participant.experiment.classes)))

    @contextmanager
    def _at_work(self, task: Task) -> Iterator[Participant]:
        """The participant for the task's run, with the task's payload in its network.

        One that has trained a round cannot train it again: a new one takes up the state from before it.
        """
        check_version("task", task.version, Reason.VERSION)
        experiment, run = Experiment.from_json(task.experiment), run_name(task.run)
        _check_round(task.round, experiment)
        before, self._joined = self._joined, None
        done_before = self._participant is not None and self._participant.has_trained(task.round)
        participant = self._participant
        if participant is None or before != (experiment, run) or (task.name == TASK_TRAIN and done_before):
            participant = self._participant = self._join(experiment, run)
            participant.claim_data()
        if task.payload:
            expected = payload.types_down(participant.experiment)
            participant.receive(payload.check(task.payload, expected))
        yield participant
        self._joined = (experiment, run)


def train_round(
    participant: Participant, number: int, stopped: Callable[[], bool] = lambda: False, say: Say = silent
) -> tuple[dict[str, Tensor], TrainReport]:
    """The update of a round, and the report on it; see `Member.train`."""
    participant.restore_before(number)
    validation = participant.score("validation")
    update, result = participant.train(number, stopped, say)
    report = TrainReport(
        experiment=participant.experiment.to_json(),
        start_digest=participant.start_digest,
        frozen_digest=participant.frozen_digest,
        slices=participant.slices,
        **dict(result),
        validation=mean_by_class([s.dice for s in validation], participant.experiment.classes),
        demo=participant.assignment.demo,
        weights=participant.weights.origin,
        labels=participant.labels_digest(),
    )
    return update, report


def _check_round(number: object, experiment: Experiment) -> None:
    if type(number) is not int or not 0 <= number <= experiment.rounds:
        raise FlapSamError(
            f"The task's round is {clean_reason(repr(number))}; expected 0 to {experiment.rounds}.", Reason.TASK
        )
