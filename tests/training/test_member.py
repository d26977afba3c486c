# SPDX-License-Identifier: Apache-2.0
"""A site that does one task after another: when it begins anew, and what it refuses before it works."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from flap_sam.errors import FlapSamError, Reason
from flap_sam.training.member import Member, train_round
from flap_sam.training.trainer import LocalResult
from flap_sam.wire import payload
from flap_sam.wire.exchange import Task
from flap_sam.wire.messages import TASK_EVALUATE, TASK_TRAIN, TrainReport, from_meta

from tests.training.cases import scored


class Participant:
    """Trains nothing, and writes down what is asked of it."""

    def __init__(self, experiment, run: str) -> None:
        self.experiment, self.run, self.calls, self.trained = experiment, run, [], -1
        self.start_digest, self.frozen_digest, self.slices = "start", "frozen", 7
        self.assignment = SimpleNamespace(demo=False)
        self.weights = SimpleNamespace(origin="checkpoint")
        self.problem: Exception | None = None

    def labels_digest(self):
        return "labels"

    def claim_data(self):
        self.calls.append("claim")

    def has_trained(self, number):
        return self.trained >= number

    def receive(self, tensors):
        self.calls.append("receive")

    def restore_before(self, number):
        self.calls.append(f"before {number}")

    def restore_to_score(self, number):
        self.calls.append(f"to score {number}")

    def score(self, split, gallery=None, of=None):
        self.calls.append(f"score {split}")
        return [scored("a", (0.5, None))]

    def gallery(self, folder, number, of):
        return None

    def train(self, number, stopped, say):
        if self.problem:
            raise self.problem
        self.calls.append(f"train {number}")
        self.trained = number
        return {"a": torch.ones(2)}, LocalResult(loss=0.25, steps=3, seconds=1.0)


class Site:
    """A member and every participant that it has joined with."""

    def __init__(self) -> None:
        self.joined: list[Participant] = []
        self.member = Member(self._join)

    def _join(self, experiment, run):
        self.joined.append(Participant(experiment, run))
        return self.joined[-1]

    def train(self, task: Task):
        return self.member.train(task, lambda: False, lambda _: None)

    def score(self, task: Task, tmp_path: Path):
        return self.member.score(replace(task, name=TASK_EVALUATE), tmp_path / "pictures", tmp_path / "cases")


@pytest.fixture
def task(small) -> Task:
    return Task(TASK_TRAIN, small.changed(rounds=5).to_json(), "run-1", 0, 5, {})


def test_the_payload_is_scored_before_it_is_trained_and_the_report_says_all(task):
    site = Site()
    answer = site.train(task)
    (participant,) = site.joined
    assert participant.calls == ["claim", "before 0", "score validation", "train 0"]
    report = from_meta(TrainReport, answer.report, 2)
    assert (report.slices, report.loss, report.steps, report.validation) == (7, 0.25, 3, [0.5, None])
    assert (report.start_digest, report.frozen_digest, report.labels, report.weights) == (
        "start",
        "frozen",
        "labels",
        "checkpoint",
    )
    assert (answer.round, list(answer.update)) == (0, ["a"])


def test_the_next_rounds_of_a_run_are_the_same_participants(task):
    site = Site()
    for number in range(3):
        site.train(replace(task, round=number))
    assert len(site.joined) == 1


@pytest.mark.parametrize("change", [{"run": "run-2"}, {"experiment": None}, {"round": 1}])
def test_another_run_or_experiment_and_a_round_that_was_trained_are_begun_anew(task, small, change):
    """What comes again is trained from the state before it."""
    site = Site()
    site.train(replace(task, round=1))
    if "experiment" in change:
        change = {"experiment": small.changed(rounds=5, seed=8).to_json()}
    site.train(replace(task, round=change.pop("round", 2), **change))
    assert len(site.joined) == 2
    assert site.joined[1].calls[0] == "claim"


def test_a_round_that_was_trained_is_scored_by_the_same_participant(task, tmp_path):
    site = Site()
    site.train(task)
    answer = site.score(replace(task, round=0), tmp_path)
    (participant,) = site.joined
    assert participant.calls[-3:] == ["to score 0", "score validation", "score test"]
    assert answer.update == {}
    assert answer.report["test"] == [0.5, None]
    assert (tmp_path / "cases" / "test_cases_round_00000.csv").is_file()


def test_after_an_error_the_next_task_starts_from_the_disk(task):
    site = Site()
    site.train(task)
    site.joined[0].problem = FlapSamError("it was stopped")
    with pytest.raises(FlapSamError, match="it was stopped"):
        site.train(replace(task, round=1))
    site.train(replace(task, round=1))
    assert len(site.joined) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 99}, Reason.VERSION),
        ({"version": None}, Reason.VERSION),
        ({"experiment": "{"}, Reason.EXPERIMENT),
        ({"run": "../run"}, Reason.TASK),
        ({"round": -1}, Reason.TASK),
        ({"round": 6}, Reason.TASK),
        ({"round": True}, Reason.TASK),
        ({"round": "1"}, Reason.TASK),
        ({"round": None}, Reason.TASK),
    ],
)
def test_what_is_no_task_is_refused_before_anyone_joins(task, change, reason):
    site = Site()
    with pytest.raises(FlapSamError) as refused:
        site.train(replace(task, **change))
    assert refused.value.reason == reason
    assert site.joined == []


def test_a_payload_is_checked_whole_before_it_is_received(task, small):
    tensors = {name: torch.zeros(shape) for name, shape in payload.sent(small).items()}
    site = Site()
    site.train(replace(task, round=1, payload=tensors))
    assert "receive" in site.joined[0].calls
    first = next(iter(tensors))
    site = Site()
    with pytest.raises(FlapSamError) as refused:
        site.train(replace(task, round=1, payload=tensors | {first: tensors[first] * float("nan")}))
    assert refused.value.reason == Reason.PAYLOAD
    assert site.joined[0].calls == ["claim"]


def test_a_round_may_be_trained_without_a_server(small):
    participant = Participant(small, "run")
    update, report = train_round(participant, 2)
    assert (list(update), report.steps, participant.trained) == (["a"], 3, 2)
