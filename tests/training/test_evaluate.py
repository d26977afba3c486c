# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from flap_sam.data.geometry import Volume
from flap_sam.data.store import SiteStore
from flap_sam.records.scores import CaseScore, Overlap
from flap_sam.training.evaluate import COLUMNS, compared, evaluation, mean_by_class, overlaps, score, write_cases
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_dice

from tests.training.cases import scored
from tests.training.networks import Threshold

CPU = torch.device("cpu")


def test_dice_is_monais():
    rng = np.random.default_rng(0)
    prediction, truth = rng.integers(0, 4, (2, 3, 5, 7)).astype(np.uint8)
    truth[truth == 2] = 0

    def onehot(labels):
        return torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 4).movedim(-1, 0)[None]

    expected = compute_dice(onehot(prediction), onehot(truth), include_background=False)[0]
    found = CaseScore("", overlaps(prediction, truth, classes=3), 1.0).dice
    assert found[1] is None
    assert expected[1].isnan()
    assert [found[0], found[2]] == pytest.approx([expected[0].item(), expected[2].item()])


def test_every_case_of_a_split_is_scored_on_its_own_grid(small, store):
    site = SiteStore.open(store, "C")
    scores = score(Threshold(), site, "test", small, CPU, "float32")
    assert [s.case for s in scores] == [case.id for case in site.cases("test")]
    assert all(0.5 < value <= 1 for s in scores for value in s.dice if value is not None)
    assert score(Threshold(), site, "validation", small, CPU, "float32") == []


def test_means_leave_out_what_is_not_there():
    assert mean_by_class([(0.5, None), (1.0, None)], 2) == [0.75, None]
    assert mean_by_class([], 2) == [None, None]


def test_an_evaluation_sums_the_cases_up():
    test = [
        scored("a", (0.5, None), (2.0, None), (0.75, None)),
        scored("b", (1.0, 0.25), (4.0, 8.0), (0.25, 1.0)),
    ]
    found = evaluation([scored("v", (0.5, 0.5))], test, 2)
    assert (found.validation, found.validation_cases, found.test_cases) == ([0.5, 0.5], 1, 2)
    assert found.test == [0.75, 0.25]
    assert found.test_spread == [pytest.approx(0.125**0.5), None]
    assert (found.hausdorff, found.surface_dice) == ([3.0, 8.0], [0.5, 1.0])
    assert (found.test_with, found.test_missed, found.test_false_positives) == ([2, 1], [0, 0], [0, 0])
    assert evaluation([], [scored("a", (0.5, None))], 2).hausdorff == [None, None]


def test_surfaces_are_measured_where_a_tolerance_asks_for_them(small, store):
    site = SiteStore.open(store, "C")
    asked = small.changed(surface_tolerance=2.0)
    for score_of in score(Threshold(), site, "test", asked, CPU, "float32"):
        assert [v is None for v in score_of.surface_dice] == [v is None for v in score_of.dice]
    assert score(Threshold(), site, "test", small, CPU, "float32")[0].hausdorff == ()


@given(arrays(np.uint8, (2, 3, 4, 5), elements=st.integers(0, 2)), st.lists(st.sampled_from((0, 1, 2)), max_size=3))
def test_outcomes_and_volumes_are_simpleitks(maps, emptied):
    """Volumes and overlaps of a scan with an oblique grid; classes taken out of truth or prediction."""
    prediction, truth = maps
    for k, value in enumerate(emptied):
        (prediction if k % 2 else truth)[(prediction if k % 2 else truth) == value] = 0
    spacing = (3.0, 0.5, 2.0)
    affine = np.diag((*spacing, 1.0)) @ [[0.8, -0.6, 0, 1], [0.6, 0.8, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    grid = Volume(Path("x"), truth, spacing, tuple(map(tuple, affine.tolist())), truth.shape)
    found = compared("x", prediction, truth, 2, grid, tolerance=0.0)

    def shape(labels, number):
        image = SimpleITK.GetImageFromArray((labels == number).astype(np.uint8))
        image.SetSpacing(spacing[::-1])
        statistics = SimpleITK.LabelShapeStatisticsImageFilter()
        statistics.Execute(image)
        return statistics.GetPhysicalSize(1) / 1000 if statistics.HasLabel(1) else 0.0

    for k in (1, 2):
        true, predicted = shape(truth, k), shape(prediction, k)
        false = shape(np.where(truth == k, 0, prediction), k)
        assert found.true_ml[k - 1] == pytest.approx(true)
        assert found.predicted_ml[k - 1] == pytest.approx(predicted)
        assert found.false_positive_ml[k - 1] == pytest.approx(false)
        outcomes = {(1, 1): "segmented", (1, 0): "missed", (0, 1): "false positive", (0, 0): "absent"}
        assert found.overlaps[k - 1].outcome == outcomes[true > 0, predicted > 0]
        assert (found.dice[k - 1] is None) == (true == 0)


def grid_of(shape) -> Volume:
    return Volume(Path("x"), np.zeros(shape), (2.0, 1.0, 1.0), ((0, 0, 1, 0), (0, 1, 0, 0), (2, 0, 0, 0)), shape)


def test_a_missed_organ_never_makes_the_mean_distance_better():
    """However far off the organ would be found, to leave it out is worse."""
    truth = np.zeros((6, 20, 20), np.uint8)
    truth[2, 2, 2] = 1
    grid, distances = grid_of(truth.shape), []
    for place in (*range(3, 20), None):
        prediction = np.zeros_like(truth)
        if place is not None:
            prediction[5, place, place] = 1
        distances.append(compared("x", prediction, truth, 1, grid, 1.0).hausdorff[0])
    assert distances == sorted(distances)
    assert distances[-1] == pytest.approx(np.sqrt(12**2 + 20**2 + 20**2))
    perfect = compared("y", truth, truth, 1, grid, 1.0)
    missed = compared("x", np.zeros_like(truth), truth, 1, grid, 1.0)
    assert evaluation([], [perfect, missed], 1).hausdorff == [pytest.approx(distances[-1] / 2)]


def test_what_a_mean_leaves_out_is_counted():
    truth, prediction = np.zeros((2, 4, 3, 3), np.uint8)
    truth[0], prediction[1] = 1, 1
    pairs = ((truth, truth), (np.zeros_like(truth), truth), (prediction, np.zeros_like(truth)), (truth * 0, truth * 0))
    scores = [compared(str(k), *pair, 1, grid_of((4, 3, 3)), 1.0) for k, pair in enumerate(pairs)]
    assert [s.overlaps[0].outcome for s in scores] == ["segmented", "missed", "false positive", "absent"]
    found = evaluation([], scores, 1)
    assert (found.test, found.test_with, found.test_cases) == ([0.5], [2], 4)
    assert (found.test_missed, found.test_false_positives) == ([1], [1])


def test_the_cases_are_written_for_the_site_alone(tmp_path):
    missed = CaseScore("b", (Overlap(250, 0, 0), Overlap(0, 100, 0)), 0.001, (70.5, None), (0.0, None))
    write_cases(tmp_path / "cases.csv", [scored("a", (0.5, None)), missed])
    assert (tmp_path / "cases.csv").read_text().splitlines() == [
        ",".join(COLUMNS),
        "a,1,0.5,,,segmented,1.0,1.0,0.5",
        "a,2,,,,absent,0.0,0.0,0.0",
        "b,1,0.0,70.5,0.0,missed,0.25,0.0,0.0",
        "b,2,,,,false positive,0.0,0.1,0.1",
    ]
    assert COLUMNS[:5] == ("case", "class", "dice", "hausdorff_mm", "surface_dice")
