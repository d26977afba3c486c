# SPDX-License-Identifier: Apache-2.0
"""What a comparison will take: every network measured once, and seconds that add up as its steps and slices do."""

import time

import numpy as np
import pytest
import torch
from flap_sam.config.site import Site
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError
from flap_sam.experiments import estimate as module
from flap_sam.experiments.estimate import Excerpt, Speed, estimate, measured
from flap_sam.experiments.plan import Cell
from flap_sam.records.run_record import CENTRALIZED, FEDERATED, LOCAL
from flap_sam.training.participant import Assignment, Participant
from flap_sam.training.trainer import LocalResult

TRAINED, VALIDATED, TESTED = {"A": 4, "B": 7, "C": 3}, {"A": 3, "B": 5, "C": 0}, {"A": 7, "B": 2, "C": 7}


@pytest.fixture
def data(store) -> dict[str, Assignment]:
    return {name: Assignment((SiteStore.open(store, name),), False) for name in "ABC"}


@pytest.fixture
def site(store) -> Site:
    return Site(data=store, device="cpu", checkpoint="random")


@pytest.fixture
def asked(monkeypatch) -> list:
    """The experiments that were measured: 1 s a window, 1/8 s a scored slice."""
    found = []

    def of(experiment, assignment, _):
        found.append((experiment, assignment.store.manifest.site))
        return Speed(1.0, 0.125)

    monkeypatch.setattr(module, "measured", of)
    return found


def test_seconds_are_those_of_all_steps_and_scored_slices(small, data, site, asked):
    longer = small.changed(rounds=3, local_epochs=2)
    cells = [
        (Cell(FEDERATED, {}, 1), longer),
        (Cell(CENTRALIZED, {}, 1), longer),
        (Cell(CENTRALIZED, {}, 2), longer.changed(seed=2)),
        *((Cell(LOCAL, {}, 1, name), longer) for name in "BC"),
    ]
    found = estimate(cells, data, site)
    tests = 2 * sum(TESTED.values()) / 8
    everyone = 3 * (2 * sum(TRAINED.values()) + sum(VALIDATED.values()) / 8) + tests
    alone = sum(3 * (2 * TRAINED[name] + VALIDATED[name] / 8) + tests for name in "BC")
    assert dict(found.seconds) == {FEDERATED: everyone, CENTRALIZED: 2 * everyone, LOCAL: alone}
    assert dict(found.cells) == {FEDERATED: 1, CENTRALIZED: 2, LOCAL: 2}
    assert len(asked) == len(found.speeds) == 1, "they differ in nothing that a step takes longer by"
    assert asked[0][1] == "C", "the smallest site"


@pytest.mark.usefixtures("asked")
def test_every_network_is_measured_once_and_named_by_what_was_varied(small, data, site):
    varied = [{"method": "pdecft"}, {"rank": 2}, {"rounds": 5}, {"method": "pdecft", "learning_rate": 0.1}]
    cells = [(Cell(FEDERATED, changes, seed), small.changed(**changes)) for changes in varied for seed in (1, 2)]
    found = estimate(cells, data, site)
    assert [changes for changes, _ in found.speeds] == varied[:3]


@pytest.mark.parametrize(("method", "augmentation"), [("flap_sam", "paper"), ("pdecft", "none"), ("masam", "none")])
def test_a_network_is_measured_by_its_own_steps_and_leaves_nothing(small, data, site, tmp_path, method, augmentation):
    experiment = small.changed(method=method, augmentation=augmentation, foreground_share=0.5)
    start = time.perf_counter()
    speed = measured(experiment, data["B"], site)
    assert speed.window > 0
    assert speed.scored > 0
    assert speed.window + speed.scored < time.perf_counter() - start
    assert not (tmp_path / "state").exists()


def test_a_step_is_of_as_many_windows_as_it_is_said_to_be(small, data, site, monkeypatch):
    steps = []

    def train(self, _):
        steps.append((self.experiment.batch_size, self.slices, self._trainer.steps_an_epoch))
        return {}, LocalResult(loss=1.0, steps=1, seconds=3.0)

    monkeypatch.setattr(Participant, "train", train)
    assert measured(small, data["A"], site).window == 3.0
    assert steps == [(1, 1, 1)] * 2


def test_an_excerpt_is_the_beginning_of_a_case(data):
    store = data["B"].store
    for slices in (1, 2, 6, 100):
        excerpt = Excerpt.of(store, slices)
        (case,) = excerpt.cases("train")
        first = store.cases("train")[0]
        assert excerpt.training_slices == min(slices, 6)
        np.testing.assert_array_equal(excerpt.image(case), store.image(first)[:slices])
        np.testing.assert_array_equal(excerpt.label(case), store.label(first)[:slices])


def test_what_does_not_fit_is_told(small, data, site, monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("120 GB wanted")

    monkeypatch.setattr(Participant, "train", exhausted)
    with pytest.raises(FlapSamError, match="A step of 1 window of flap_sam on vit_tiny does not fit"):
        measured(small, data["A"], site)
    with pytest.raises(FlapSamError, match="no weights are bundled"):
        measured(small.changed(backbone="vit_b"), data["A"], site.changed(checkpoint=None))
