# SPDX-License-Identifier: Apache-2.0
"""Sites of this process: one member that trains, and every store it scores."""

from pathlib import Path

import pytest
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError
from flap_sam.rounds.answers import Answers
from flap_sam.rounds.in_process import InProcess
from flap_sam.wire.exchange import Answer, Task
from flap_sam.wire.messages import TASK_EVALUATE, TASK_TRAIN

STORES = {"A": object(), "B": object()}


class Member:
    """Writes down what it is asked for."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.trained, self.scored, self.problem = [], [], problem

    def train(self, task, stopped, say):
        if self.problem:
            raise self.problem
        self.trained.append((task, stopped()))
        say("half way")
        return Answer(task.round, {}, "report")

    def score(self, task, pictures, cases, of):
        self.scored.append((pictures, cases, of))
        return Answer(task.round, {}, "scores")


def asking(name: str, asked, member: Member, said: list[str]):
    sites = InProcess("A, B", member, STORES, Path("/out"), said.append)
    taken = []
    answers = Answers(
        asked, RunPolicy(), 0.0, lambda *words: taken.append(words) or True, sites.stopped, sites.gone, said.append
    )
    sites.ask(Task(name, "{}", "run", 3, 9, {}), asked, answers)
    return taken


def test_the_member_alone_trains_and_every_store_scores():
    sites = InProcess("A, B", Member(), STORES, Path("/out"), print)
    assert sites.connected() == ["A, B"]
    assert sites.scoring(["A, B"]) == ["A", "B"]
    assert (sites.late(), sites.gone(), sites.stopped()) == ([], [], False)


def test_a_round_is_trained_under_the_members_name():
    member, said = Member(), []
    ((site, answer),) = asking(TASK_TRAIN, ["A, B"], member, said)
    assert (site, answer.round, answer.report) == ("A, B", 3, "report")
    ((task, stopped),) = member.trained
    assert (task.round, stopped, said) == (3, False, ["half way"])


def test_every_site_scores_its_own_store_into_a_folder_of_its_own():
    member = Member()
    taken = asking(TASK_EVALUATE, ["A", "B"], member, [])
    assert [site for site, _ in taken] == ["A", "B"]
    assert [of for *_, of in member.scored] == list(STORES.values())
    folders = [folder for pictures, cases, _ in member.scored for folder in (pictures, cases)]
    assert len(set(folders)) == 4
    assert all(folder.parent.parent == Path("/out") for folder in folders)
    assert [folder.name for folder in folders] == ["A", "A", "B", "B"]


def test_what_goes_wrong_ends_the_run_with_its_own_sentence():
    """In a federation it would be the site's refusal."""
    with pytest.raises(FlapSamError, match="the disk is full"):
        asking(TASK_TRAIN, ["A, B"], Member(FlapSamError("the disk is full")), [])
