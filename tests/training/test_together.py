# SPDX-License-Identifier: Apache-2.0
"""A round by two processes is the round of one."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from flap_sam.config.experiment import Experiment
from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError, Reason
from flap_sam.training.participant import Participant, assign
from flap_sam.training.trainer import LocalResult

from tests.conftest import write_store


def join(experiment, store, state: Path, processes: int) -> Participant:
    site = Site(data=store, device="cpu", state=state, processes=processes)
    return Participant(experiment, site, assign(site, "B", None), "B", "run")


@dataclass(frozen=True)
class Rounds:
    """What each of two rounds sends, how it went, and what was said of it."""

    sent: list[dict[str, torch.Tensor]]
    results: list[LocalResult]
    said: list[list[str]]
    kept: list[str]


def rounds(experiment: Experiment, store: Path, state: Path, processes: int) -> Rounds:
    """Two rounds, the second from what the first sent, in the hands of a new process."""
    done = Rounds([], [], [], [])
    for number in range(2):
        participant = join(experiment, store, state, processes)
        participant.restore_before(number)
        if done.sent:
            participant.receive(done.sent[-1])
        done.said.append([])
        tensors, result = participant.train(number, say=done.said[-1].append)
        done.sent.append(tensors)
        done.results.append(result)
    done.kept.extend(sorted(p.name for p in state.rglob("*.safetensors")))
    return done


@pytest.fixture(scope="module")
def by_one_and_by_two(small: Experiment, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rounds, Rounds]:
    """Seven windows, three a step: the last step has one window, which leaves the second process without any.

    Whatever there is to say of a step is said at once.
    """
    folder, experiment = tmp_path_factory.mktemp("together"), small.changed(adapter="mole", experts=2)
    store = write_store(folder / "store")
    (folder / "sitecustomize.py").write_text("from flap_sam.training import progress\nprogress.LINE_SECONDS = 0.0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        return rounds(experiment, store, folder / "one", 1), rounds(experiment, store, folder / "two", 2)


@pytest.mark.slow
def test_two_processes_train_the_rounds_that_one_trains(by_one_and_by_two):
    one, two = by_one_and_by_two
    for expected, found in zip(one.sent, two.sent, strict=True):
        assert set(expected) == set(found)
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    assert [r.steps for r in one.results] == [r.steps for r in two.results] == [3, 3]
    assert [r.loss for r in two.results] == pytest.approx([r.loss for r in one.results], rel=1e-4)
    assert one.kept == two.kept != []


@pytest.mark.slow
def test_the_first_process_says_how_far_the_round_is(by_one_and_by_two):
    _, two = by_one_and_by_two
    for number, said in enumerate(two.said):
        assert said
        pattern = rf"round   {number}  B +step \d+ of 3  loss 0\.\d{{4}}  \d:\d\d:\d\d left$"
        assert all(re.match(pattern, line) for line in said)


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_the_sites_sentence(small, store, tmp_path):
    participant = join(small.changed(learning_rate=1e3, weight_decay=0.0), store, tmp_path, 2)
    (store / "B").rename(store / "gone")
    with pytest.raises(FlapSamError, match="has no site 'B'") as told:
        participant.train(0)
    assert told.value.reason == Reason.STORE


def test_a_round_that_is_stopped_leaves_no_process(small, store, tmp_path):
    participant = join(small, store, tmp_path, 2)
    with pytest.raises(FlapSamError, match="was stopped"):
        participant.train(0, stopped=lambda: True)
