# SPDX-License-Identifier: Apache-2.0
from math import prod
from pathlib import Path

import numpy as np
import pytest
from flap_sam.data.readers.raw import MOST_VOXELS, check_shape, check_voxels, farthest, finite, size
from flap_sam.errors import FlapSamError
from hypothesis import given
from hypothesis import strategies as st

SCAN = Path("/scans/x.nii")


@given(st.lists(st.integers(0, 2000), max_size=5).map(tuple))
def test_a_shape_is_three_axes_and_ones_behind_them(shape):
    good = len(shape) >= 3 and min(shape[:3]) > 0 and set(shape[3:]) <= {1} and prod(shape) <= MOST_VOXELS
    if good:
        assert check_shape(SCAN, shape) == shape[:3]
    else:
        with pytest.raises(FlapSamError, match=r"^/scans/x\.nii "):
            check_shape(SCAN, shape)


@pytest.mark.parametrize(
    ("shape", "held"),
    [((3, 4, 5, 2), "2 volumes"), ((3, 4, 5, 2, 3), "6 volumes"), ((3, 4), "no volume"), ((3, 0, 5, 2), "no volume")],
)
def test_what_it_holds_instead_is_counted(shape, held):
    with pytest.raises(FlapSamError, match=f"it holds {held};"):
        check_shape(SCAN, shape)


def test_as_many_voxels_as_there_may_be_and_one_more():
    check_voxels(SCAN, 1024**3)
    with pytest.raises(FlapSamError, match="declares 1073741825 voxels, expected at most 1073741824"):
        check_voxels(SCAN, 1024**3 + 1)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_that_is_not_finite_is_found_wherever_it_lies(odd, dtype):
    for place in np.ndindex(2, 3, 2):
        array = np.zeros((2, 3, 2), dtype)
        assert finite(SCAN, array) is array
        array[place] = odd
        with pytest.raises(FlapSamError, match="not finite"):
            finite(SCAN, array)


def test_whole_numbers_are_finite_to_their_ends():
    ends = np.array([-32768, 32767], np.int16)
    assert finite(SCAN, ends) is ends


def test_sizes_in_words():
    assert size(np.array([1.5, 1.0, 0.3333333333])) == "1.5 x 1 x 0.333333"


@given(
    shape=st.tuples(*[st.integers(1, 30)] * 3),
    shift=st.tuples(*[st.floats(-20, 20)] * 3),
    stretch=st.tuples(*[st.floats(0.5, 2)] * 3),
)
def test_the_farthest_corner_in_voxels_of_the_first_grid(shape, shift, stretch):
    ours, theirs = np.diag((0.5, 1.5, 3.0, 1.0)), np.diag((0.5, 1.5, 3.0, 1.0))
    theirs[:3, :3] *= np.diag(stretch)
    theirs[:3, 3] = np.multiply(shift, (0.5, 1.5, 3.0))
    expected = max(
        max(abs(shift[axis]), abs((stretch[axis] - 1) * (shape[axis] - 1) + shift[axis])) for axis in range(3)
    )
    assert farthest(ours, theirs, shape) == pytest.approx(expected, abs=1e-9)


def test_a_flat_grid_has_no_distance():
    with pytest.raises(np.linalg.LinAlgError):
        farthest(np.diag((1.0, 0, 1, 1)), np.eye(4), (3, 3, 3))
