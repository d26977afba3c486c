# SPDX-License-Identifier: Apache-2.0
"""The loop of rounds over sites that answer at once with constants: what it asks, averages, keeps and says."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError
from flap_sam.records import round_log, run_record
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES, read_test_dice
from flap_sam.records.run_record import FEDERATED, LOCAL
from flap_sam.rounds.loop import Run, Surroundings
from flap_sam.training.evaluate import evaluation
from flap_sam.wire import payload
from flap_sam.wire.exchange import Answer, Task
from flap_sam.wire.messages import TASK_EVALUATE, TASK_TRAIN, TrainReport, to_meta

from tests.training.cases import scored

SLICES = {"A": 1, "B": 3}
VALIDATION = (0.1, 0.6, 0.4, 0.3, 0.2)  # of the start, and after each round

Spoil = Callable[[str, Task, Answer], Answer | None]


class Constants:
    """The `Sites` of a run. A site's update of a round is 10 times the round's number and its slices, everywhere."""

    def __init__(self, experiment: Experiment, slices: dict[str, int], spoil: Spoil | None) -> None:
        self.experiment, self.slices = experiment, slices
        self.spoil = spoil or (lambda _, __, answer: answer)
        self.asked: list[tuple[str, int, list[str]]] = []
        self.received: list[dict[str, torch.Tensor]] = []

    def connected(self):
        return [*self.slices]

    def scoring(self, trained):
        return [*trained]

    def ask(self, task, asked, answers):
        self.asked.append((task.name, task.round, [*asked]))
        self.received.append({name: tensor.clone() for name, tensor in task.payload.items()})
        for site in asked:
            if answer := self.spoil(site, task, self._answer(site, task)):
                answers.take(site, answer)

    def late(self):
        return []

    def gone(self):
        return []

    def stopped(self):
        return False

    def _answer(self, site: str, task: Task) -> Answer:
        dice = (VALIDATION[task.round], None)
        if task.name == TASK_EVALUATE:
            return Answer(task.round, {}, to_meta(evaluation([scored("v", dice)], [scored("t", (0.5, None))], 2)))
        report = TrainReport(
            experiment=self.experiment.to_json(),
            start_digest="start",
            frozen_digest="frozen",
            slices=self.slices[site],
            loss=1.0,
            steps=1,
            seconds=0.5,
            validation=list(dice),
            demo=False,
            weights="checkpoint",
            labels="names",
        )
        value = float(10 * task.round + self.slices[site])
        update = {name: torch.full(shape, value) for name, shape in payload.sent(self.experiment).items()}
        return Answer(task.round, update, to_meta(report))


@pytest.fixture
def plain(small) -> Experiment:
    """No adapters: the average of constants can be told by heart."""
    return small.changed(method="pdecft", rounds=2)


def conducted(experiment, folder: Path, slices=SLICES, spoil=None, setting=FEDERATED, said=None, **policy) -> Constants:
    sites = Constants(experiment, slices, spoil)
    (folder / "results").mkdir(parents=True, exist_ok=True)
    say = (lambda _: None) if said is None else said.append
    around = Surroundings(folder / "results", folder / "state", None, setting, False, say)
    Run(experiment, RunPolicy(**{"largest_norm": None, **policy}), sites, around).run()
    return sites


def value(tensors) -> float:
    (found,) = {number.item() for tensor in tensors.values() for number in tensor.unique()}
    return found


def kept(folder: Path, kind: str):
    return payload.read(folder / "results" / PAYLOAD_FILES[kind])


def test_a_run_asks_for_its_rounds_and_then_for_the_scores_of_both_payloads(plain, tmp_path):
    sites = conducted(plain, tmp_path)
    everyone = [*SLICES]
    assert sites.asked == [
        (TASK_TRAIN, 0, everyone),
        (TASK_TRAIN, 1, everyone),
        (TASK_EVALUATE, 2, everyone),
        (TASK_EVALUATE, 1, everyone),
    ], "the best one started round 1"
    first, second = round_log.read(tmp_path / "results")
    assert (first.round, second.round, [*first.sites]) == (0, 1, everyone)
    tests, best = read_test_dice(tmp_path / "results")
    assert (best, {kind: [*reports] for kind, reports in tests.items()}) == (1, {FINAL: everyone, BEST: everyone})
    assert run_record.read(tmp_path / "results").attempts[0].sites == everyone


def test_what_comes_down_is_the_mean_by_slices_of_what_went_up(plain, tmp_path):
    sites = conducted(plain, tmp_path)
    assert sites.received[0] == {}, "each site starts by itself"
    mean = (1 * 1 + 3 * 3) / 4
    assert value(sites.received[1]) == mean
    assert value(kept(tmp_path, FINAL).tensors) == 10 + mean
    assert value(kept(tmp_path, BEST).tensors) == mean
    assert (kept(tmp_path, FINAL).notes["round"], kept(tmp_path, BEST).notes["round"]) == (2, 1)
    assert kept(tmp_path, BEST).notes["start"] == "start"


def test_where_the_last_payload_is_the_best_it_is_scored_once(plain, tmp_path):
    sites = conducted(plain.changed(rounds=1), tmp_path)
    assert [name for name, *_ in sites.asked] == [TASK_TRAIN, TASK_EVALUATE]
    tests, best = read_test_dice(tmp_path / "results")
    assert (best, tests[FINAL]) == (1, tests[BEST])


@pytest.mark.parametrize("setting", [FEDERATED, LOCAL])
def test_only_in_a_federation_does_anything_travel(plain, tmp_path, setting):
    conducted(plain, tmp_path, setting=setting)
    travelled = [way for r in round_log.read(tmp_path / "results") for s in r.sites.values() for way in (s.bytes_up,)]
    assert all(number > 0 for number in travelled) == (setting == FEDERATED)
    assert any(number > 0 for number in travelled) == (setting == FEDERATED)


def later(site: str, change: Callable[[Answer], Answer]) -> Spoil:
    """A site whose answers from round 1 on are spoilt."""
    return lambda name, task, answer: change(answer) if name == site and task.round == 1 else answer


SPOILT = {
    "another round": (lambda answer: replace(answer, round=0), "it answers round 0, not 1"),
    "another version": (lambda answer: replace(answer, version=99), "version 99"),
    "no report": (lambda answer: replace(answer, report=None), "The report is refused"),
    "a tensor too few": (
        lambda answer: replace(answer, update=dict(list(answer.update.items())[1:])),
        "mask_decoder",
    ),
    "no tensors": (lambda answer: replace(answer, update="tensors"), ""),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_answer_does_not_count_and_the_round_goes_on(plain, tmp_path, what):
    change, sentence = SPOILT[what]
    conducted(plain, tmp_path, spoil=later("A", change), min_sites=1)
    first, second = round_log.read(tmp_path / "results")
    assert (list(first.sites), first.refused) == (["A", "B"], {})
    assert list(second.sites) == ["B"]
    assert sentence in second.refused["A"]
    assert value(kept(tmp_path, FINAL).tensors) == 13.0


def test_a_silent_site_is_missing(plain, tmp_path):
    conducted(plain, tmp_path, spoil=later("A", lambda _: None), min_sites=1)
    assert [record.missing for record in round_log.read(tmp_path / "results")] == [[], ["A"]]


def test_where_all_are_needed_the_run_stops_with_the_reason(plain, tmp_path):
    with pytest.raises(FlapSamError, match="2 sites are needed, 1 count; A: it answers round 0"):
        conducted(plain, tmp_path, spoil=later("A", lambda answer: replace(answer, round=0)))
    assert len(round_log.read(tmp_path / "results")) == 1


def test_until_most_have_said_the_same_nothing_is_counted(plain, tmp_path):
    def odd(site, task, answer):
        return replace(answer, report=answer.report | {"start_digest": f"of {site}"}) if task.round == 0 else answer

    with pytest.raises(FlapSamError, match="more than half of the first round's 2 sites"):
        conducted(plain, tmp_path, spoil=odd, min_sites=1)
    assert not (tmp_path / "results" / PAYLOAD_FILES[FINAL]).exists()


def test_patience_ends_a_run_that_gets_no_better(plain, tmp_path):
    said = []
    sites = conducted(plain.changed(rounds=9), tmp_path, said=said, patience=2)
    assert [number for name, number, _ in sites.asked if name == TASK_TRAIN] == [0, 1, 2, 3], "0.6, then 0.4 and 0.3"
    assert "no better validation Dice for 2 rounds: the run stops early" in said


def test_a_run_goes_on_to_the_end_that_it_would_have_had(plain, tmp_path):
    """Interrupted in round 1, it is resumed by a new loop in a new folder."""
    conducted(plain, tmp_path / "whole")
    with pytest.raises(FlapSamError, match="2 sites are needed"):
        conducted(plain, tmp_path / "first", spoil=later("A", lambda _: None))
    (tmp_path / "second").mkdir()
    (tmp_path / "first" / "state").rename(tmp_path / "second" / "state")
    sites = conducted(plain, tmp_path / "second", resume="latest")
    assert sites.asked[0][:2] == (TASK_TRAIN, 1)
    for kind in (FINAL, BEST):
        assert value(kept(tmp_path / "second", kind).tensors) == value(kept(tmp_path / "whole", kind).tensors)
    lines = (tmp_path / "second" / "results" / round_log.ROUND_LOG).read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [0, 1]
    assert [a.first_round for a in run_record.read(tmp_path / "second" / "results").attempts] == [0, 1]
