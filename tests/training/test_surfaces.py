# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.training.surfaces import surface_metrics
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_erosion, distance_transform_edt

SPACING = (5.0, 1.0, 2.0)


def boxes(shift: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros((12, 30, 20), np.uint8)
    truth[3:7, 5:15, 4:12] = 1
    return np.roll(truth, shift, axis), truth


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shifted_box_lies_as_far_off_as_it_was_shifted(axis):
    """In mm along each axis; the faces it slid along still touch the true ones."""
    hausdorff, surface_dice = surface_metrics(*boxes(2, axis), 1, SPACING, tolerance=0.5, missed=99.0)
    assert hausdorff[0] == pytest.approx(2 * SPACING[axis])
    assert 0 < surface_dice[0] < 1
    _, tolerant = surface_metrics(*boxes(2, axis), 1, SPACING, tolerance=2 * SPACING[axis], missed=99.0)
    assert tolerant[0] == pytest.approx(1)


def test_the_same_mask_is_perfect_even_at_the_border_of_the_volume():
    truth = np.zeros((3, 7, 5), np.uint8)
    truth[:, :4] = 2
    assert surface_metrics(truth, truth, 2, SPACING, 1.0, 99.0) == ((None, 0.0), (None, 1.0))


def test_an_organ_that_is_not_found_has_the_distance_of_missed_ones():
    prediction, truth = boxes(0, 0)
    assert surface_metrics(np.zeros_like(prediction), truth, 1, SPACING, 1.0, 99.0) == ((99.0,), (0.0,))
    assert surface_metrics(prediction, np.zeros_like(truth), 1, SPACING, 1.0, 99.0) == ((None,), (None,))


@given(arrays(np.uint8, (2, 5, 7, 6), elements=st.integers(0, 1)))
def test_hausdorff_is_scipys(masks):
    """Of the surfaces as scipy's erosion has them, 95 % of each one's distances to the other."""
    prediction, truth = masks
    assume(prediction.any() and truth.any())

    def surface(mask):
        return mask.astype(bool) & ~binary_erosion(mask)

    def directed(from_, to):
        return np.percentile(distance_transform_edt(~surface(to), SPACING)[surface(from_)], 95)

    expected = max(directed(prediction, truth), directed(truth, prediction))
    assert surface_metrics(prediction, truth, 1, SPACING, 1.0, 99.0)[0][0] == pytest.approx(
        expected, rel=1e-5, abs=1e-5
    )
