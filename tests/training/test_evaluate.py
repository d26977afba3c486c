from dataclasses import replace

import numpy as np
import pytest
import torch
from flap_sam.data.store import SiteStore
from flap_sam.training.evaluate import CaseScore, dice, evaluation, mean_by_class, score, write_cases
from monai.metrics import compute_dice

from tests.training.networks import Threshold

CPU = torch.device("cpu")


def test_dice_is_monais():
    rng = np.random.default_rng(0)
    prediction, truth = rng.integers(0, 4, (2, 3, 5, 7)).astype(np.uint8)
    truth[truth == 2] = 0

    def onehot(labels):
        return torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 4).movedim(-1, 0)[None]

    expected = compute_dice(onehot(prediction), onehot(truth), include_background=False)[0]
    found = dice(prediction, truth, classes=3)
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
        CaseScore("a", (0.5, None), (2.0, None), (0.75, None)),
        CaseScore("b", (1.0, 0.25), (None, 8.0), (0.25, 1.0)),
    ]
    found = evaluation([CaseScore("v", (0.5, 0.5))], test, 2)
    assert (found.validation, found.validation_cases, found.test_cases) == ([0.5, 0.5], 1, 2)
    assert found.test == [0.75, 0.25]
    assert found.test_spread == [pytest.approx(0.125**0.5), None]
    assert (found.hausdorff, found.surface_dice) == ([2.0, 8.0], [0.5, 1.0])
    assert evaluation([], [CaseScore("a", (0.5, None))], 2).hausdorff == [None, None]


def test_surfaces_are_measured_where_a_tolerance_asks_for_them(small, store):
    site = SiteStore.open(store, "C")
    asked = replace(small, surface_tolerance=2.0)
    for score_of in score(Threshold(), site, "test", asked, CPU, "float32"):
        assert [v is None for v in score_of.surface_dice] == [v is None for v in score_of.dice]
    assert score(Threshold(), site, "test", small, CPU, "float32")[0].hausdorff == ()


def test_the_cases_are_written_for_the_site_alone(tmp_path):
    write_cases(
        tmp_path / "cases.csv", [CaseScore("a", (0.5, None), (2.0, None), (1.0, None)), CaseScore("b", (1.0, 0.0))]
    )
    assert (tmp_path / "cases.csv").read_text().split() == [
        '"case","class","dice","hausdorff_mm","surface_dice"',
        '"a",1,0.5,2.0,1.0',
        '"a",2,"","",""',
        '"b",1,1.0,"",""',
        '"b",2,0.0,"",""',
    ]
