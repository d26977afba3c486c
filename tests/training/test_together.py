"""A round by two processes is the round of one."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError, Reason
from flap_sam.training.participant import Participant, assign


def join(experiment, store, state: Path, processes: int) -> Participant:
    site = Site(data=store, device="cpu", state=state, processes=processes)
    return Participant(experiment, site, assign(site, "B", None), "B", "run")


def rounds(experiment, store, state: Path, processes: int) -> tuple[list[dict], list]:
    """What each of two rounds sends, the second from what the first sent, in the hands of a new process."""
    sent, results = [], []
    for number in range(2):
        participant = join(experiment, store, state, processes)
        participant.stand_before(number)
        if sent:
            participant.receive(sent[-1])
        tensors, result = participant.train(number)
        sent.append(tensors)
        results.append(result)
    return sent, results


def test_two_processes_train_the_rounds_that_one_trains(small, store, tmp_path):
    """Seven windows, three a step: the last step has one window, which leaves the second process without any."""
    experiment = replace(small, adapter="mole", experts=2)
    one, told = rounds(experiment, store, tmp_path / "one", 1)
    two, also_told = rounds(experiment, store, tmp_path / "two", 2)
    for expected, found in zip(one, two, strict=True):
        assert set(expected) == set(found)
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    assert [r.steps for r in told] == [r.steps for r in also_told] == [3, 3]
    assert [r.loss for r in also_told] == pytest.approx([r.loss for r in told], rel=1e-4)
    kept = [sorted(p.name for p in (tmp_path / f).rglob("*.safetensors")) for f in ("one", "two")]
    assert kept[0] == kept[1] != []


def test_the_first_process_says_how_far_the_round_is(small, store, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("from flap_sam.training import progress\nprogress.LINE_SECONDS = 0.0\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    said = []
    join(replace(small, local_epochs=40), store, tmp_path, 2).train(0, say=said.append)
    assert said
    assert all(re.match(r"round   0  B +step \d+ of 120  loss 0\.\d{4}  \d:\d\d:\d\d left$", line) for line in said)


def test_what_goes_wrong_in_a_process_is_the_sites_sentence(small, store, tmp_path):
    participant = join(replace(small, learning_rate=1e3, weight_decay=0.0), store, tmp_path, 2)
    participant.store.folder.rename(store / "gone")
    with pytest.raises(FlapSamError, match="has no site 'B'") as told:
        participant.train(0)
    assert told.value.reason == Reason.STORE


def test_a_round_that_is_stopped_leaves_no_process(small, store, tmp_path):
    participant = join(small, store, tmp_path, 2)
    with pytest.raises(FlapSamError, match="was stopped"):
        participant.train(0, stopped=lambda: True)
