# SPDX-License-Identifier: Apache-2.0
"""Scores of one case, and what may be said of a site's."""

import pytest
from flap_sam.foundation.strict import checked
from flap_sam.records.scores import CaseScore, Evaluation, Overlap, RoundFigures, departures
from hypothesis import given
from hypothesis import strategies as st

VOXELS = st.sets(st.integers(0, 30))
FIGURES = {"slices": 3, "loss": 0.5, "steps": 2, "seconds": 1.0, "validation": [0.5, None], "demo": False}


@given(truth=VOXELS, prediction=VOXELS)
def test_dice_and_outcome_are_those_of_two_sets(truth, prediction):
    found = Overlap(len(truth), len(prediction), len(truth & prediction))
    expected = 2 * len(truth & prediction) / (len(truth) + len(prediction)) if truth else None
    assert found.dice == expected
    names = {(True, True): "segmented", (True, False): "missed", (False, True): "false positive"}
    assert found.outcome == names.get((bool(truth), bool(prediction)), "absent")


@given(overlaps=st.lists(st.tuples(VOXELS, VOXELS), min_size=1, max_size=3), voxel=st.floats(1e-4, 1))
def test_volumes_are_voxels_times_their_size_class_by_class(overlaps, voxel):
    found = CaseScore("x", tuple(Overlap(len(t), len(p), len(t & p)) for t, p in overlaps), voxel)
    assert found.true_ml == pytest.approx([len(t) * voxel for t, _ in overlaps])
    assert found.predicted_ml == pytest.approx([len(p) * voxel for _, p in overlaps])
    assert found.false_positive_ml == pytest.approx([len(p - t) * voxel for t, p in overlaps])
    assert len(found.dice) == len(overlaps)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"loss": 1}, "loss is 1, expected a number that is no whole one, as 1.0 is"),
        ({"loss": -0.5}, "loss is -0.5"),
        ({"loss": float("nan")}, "loss is nan"),
        ({"slices": -1}, "slices is -1"),
        ({"slices": 10**10}, "slices is 10000000000"),
        ({"slices": None}, "slices is None"),
        ({"validation": [1.5, None]}, "validation.0 is 1.5"),
        ({"validation": [0, None]}, "validation.0 is 0"),
        ({"validation": [0.5]}, "expected 2 of them, one for every class"),
        ({"validation": [0.5] * 3}, "expected 2 of them, one for every class"),
        ({"demo": 1}, "demo is 1, expected true or false"),
    ],
)
def test_what_leaves_a_site_is_within_its_limits(changes, sentence):
    assert checked(RoundFigures, FIGURES, 2).validation == [0.5, None]
    with pytest.raises(ValueError, match="is") as refused:
        checked(RoundFigures, FIGURES | changes, 2)
    assert sentence in str(refused.value)


def test_what_a_site_withholds_is_nothing_and_not_missing():
    bare = {"loss": None, "steps": None, "seconds": None, "validation": [None, None]}
    assert checked(RoundFigures, FIGURES | bare, 2).loss is None
    with pytest.raises(ValueError, match="loss is missing"):
        checked(RoundFigures, {name: value for name, value in FIGURES.items() if name != "loss"}, 2)


def test_every_list_of_an_evaluation_is_by_class():
    lists = ("validation", "test", "test_spread", "hausdorff", "surface_dice")
    tallies = ("test_with", "test_missed", "test_false_positives")
    good = {"validation_cases": 1, "test_cases": 1}
    good |= {name: [0.5, None] for name in lists} | {name: [1, 0] for name in tallies}
    assert checked(Evaluation, good, 2).test_with == [1, 0]
    assert set(Evaluation.model_fields) == set(good)
    for name in (*lists, *tallies):
        with pytest.raises(ValueError, match=rf"{name} .*one for every class"):
            checked(Evaluation, good | {name: good[name][:1]}, 2)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {}),
        ({"ranks": {"s1": 2, "s2": 4}}, {"s1": "scored the first 2 of the payload's 4 ranks"}),
        ({"adapter": "mole"}, {"s1", "s2"}),
        ({"method": "pdecft"}, {}),
        ({"payload_dtype": "int8"}, {"s1", "s2"}),
    ],
)
def test_sites_that_score_another_network_than_the_exported_one(small, settings, expected):
    found = departures(small.changed(**settings), ["s1", "s2"])
    assert found == expected or set(found) == expected
