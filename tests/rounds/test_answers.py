# SPDX-License-Identifier: Apache-2.0
"""Who counts, who is refused, who is silent, and when a task closes."""

import pytest
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError
from flap_sam.rounds import answers as module
from flap_sam.rounds.answers import Answers
from flap_sam.wire.exchange import Answer

ASKED = ("A", "B", "C")
ANSWER = Answer(0, {}, {})


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, monkeypatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


def gathered(accept=lambda *_: True, timeout=0.0, stopped=lambda: False, gone=tuple, asked=ASKED, said=None, **policy):
    say = (lambda _: None) if said is None else said.append
    return Answers(asked, RunPolicy(**policy), timeout, accept, stopped, gone, say)


def raising(error):
    def accept(*_):
        raise error

    return accept


def test_who_counts_is_neither_missing_nor_refused():
    answers = gathered()
    assert answers.take("B", ANSWER)
    assert (answers.counted, answers.refused, answers.missing()) == ({"B"}, {}, ["A", "C"])


def test_an_answer_that_is_kept_for_later_does_not_count_yet():
    answers = gathered(lambda *_: False)
    assert not answers.take("A", ANSWER)
    assert (answers.counted, answers.refused, answers.missing()) == (set(), {}, list(ASKED))


def test_a_refusal_is_our_own_sentence_and_a_fault_only_its_kind():
    """What a peer made of an exception's words could forge the log or carry data."""
    said = []
    ours = gathered(raising(FlapSamError("its norm is 9\nround 2 is done")), said=said)
    assert not ours.take("A", ANSWER)
    assert ours.refused == {"A": "its norm is 9 round 2 is done"}
    assert said == ["A is refused: its norm is 9 round 2 is done"]
    theirs = gathered(raising(KeyError("Doe^Jane")))
    assert not theirs.take("A", ANSWER)
    assert theirs.refused == {"A": "its answer cannot be used (KeyError)"}


def test_who_is_refused_later_no_longer_counts():
    answers = gathered()
    answers.take("A", ANSWER)
    answers.refuse("A", "too large")
    assert (answers.counted, answers.refused) == (set(), {"A": "too large"})


def test_a_task_without_a_limit_waits_for_ever(monkeypatch):
    clock, answers = Clock(monkeypatch), gathered(min_sites=1)
    answers.take("A", ANSWER)
    clock.now += 1e9
    assert not answers.is_over()


def test_a_task_closes_when_its_time_is_over(monkeypatch):
    clock, answers = Clock(monkeypatch), gathered(timeout=60.0)
    clock.now += 59
    assert not answers.is_over()
    clock.now += 1
    assert answers.is_over()


def test_once_enough_count_a_task_waits_a_little_for_the_others(monkeypatch):
    clock, answers = Clock(monkeypatch), gathered(min_sites=2, wait_after_min=10.0)
    answers.take("A", ANSWER)
    clock.now += 500
    assert not answers.is_over(), "one is not enough"
    answers.take("B", ANSWER)
    assert not answers.is_over()
    clock.now += 9
    assert not answers.is_over()
    clock.now += 1
    assert answers.is_over()


@pytest.mark.parametrize(("min_sites", "refusals"), [(None, 1), (2, 2), (1, 3)])
def test_a_task_closes_as_soon_as_too_few_can_still_count(min_sites, refusals):
    answers = gathered(raising(FlapSamError("no")), min_sites=min_sites)
    for number, site in enumerate(ASKED[:refusals], 1):
        assert not answers.is_over()
        answers.take(site, ANSWER)
        assert answers.is_over() == (number == refusals)


def test_a_task_closes_when_the_run_is_to_end():
    assert gathered(stopped=lambda: True).is_over()


def test_a_round_of_fewer_sites_than_the_policy_needs_wants_them_all():
    answers = gathered(asked=("A", "B"), min_sites=5)
    answers.take("A", ANSWER)
    with pytest.raises(FlapSamError, match="2 sites are needed, 1 count"):
        answers.require_enough()
    answers.take("B", ANSWER)
    answers.require_enough()


def test_where_too_few_count_everyone_else_is_named_with_the_reason(monkeypatch):
    clock = Clock(monkeypatch)
    answers = gathered(raising(FlapSamError("its norm is 9")), timeout=5.0, gone=lambda: {"C"})
    answers.take("B", ANSWER)
    told = "The run stops: 3 sites are needed, 0 count; B: its norm is 9; "
    with pytest.raises(FlapSamError) as early:
        answers.require_enough()
    assert str(early.value) == f"{told}A: still at work when the run stopped; C: its process has ended."
    clock.now += 5
    assert answers.is_over()
    with pytest.raises(FlapSamError) as late:
        answers.require_enough()
    assert str(late.value) == f"{told}A: no usable answer in time; C: its process has ended."


def test_a_run_that_is_to_end_does_not_go_on_with_enough_sites():
    answers = gathered(stopped=lambda: True, min_sites=1)
    answers.take("A", ANSWER)
    with pytest.raises(FlapSamError, match="1 sites are needed, 1 count"):
        answers.require_enough()
