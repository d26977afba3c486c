# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.phantoms.scanner import PhantomSize, Scanner
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import aff2axcodes

AXES = ("LPS", "SRA", "PSR", "IPL", "ASL", "RIP")


def scanner(**settings):
    return Scanner(**{"noise": 10, "grain": 0.6, "field": 200, "heights": (90, 110), "slices": 8} | settings)


@given(seed=st.integers(0, 2**32), slices=st.floats(0.1, 2), matrix=st.integers(4, 60), share=st.floats(0.5, 1.5))
def test_a_grid_covers_the_field_and_the_height(seed, slices, matrix, share):
    grid = scanner(matrix=share).grid(np.random.default_rng(seed), PhantomSize(matrix, slices, minimum_slices=3))
    count, rows, columns = grid.shape
    assert rows == columns == round(matrix * share)
    assert max(3, round(8 * slices * 0.75)) <= count <= max(3, round(8 * slices * 1.25))
    assert 188 - 1e-9 <= grid.pixel * rows <= 212 + 1e-9
    assert 90 - 1e-9 <= grid.thickness * count <= 110 + 1e-9
    for axis, step in ((grid.x, grid.pixel), (grid.y, grid.pixel), (grid.z, grid.thickness)):
        np.testing.assert_allclose(np.diff(axis.ravel()), step)
        assert abs(axis.mean()) <= 10 + 1e-9


@pytest.mark.parametrize("axes", AXES)
def test_a_voxel_has_the_same_place_however_it_is_filed(axes):
    """Both files say the same millimetres for each number, up to one shift of the whole patient."""
    rng = np.random.default_rng(0)
    grid = scanner().grid(rng, PhantomSize(7, 0.6))
    numbers = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    affine, (filed,) = scanner(axes=axes).filed(grid, numbers)
    assert "".join(aff2axcodes(affine)) == axes
    places = np.empty((numbers.size, 3))
    indices = np.indices(filed.shape).reshape(3, -1)
    places[filed.ravel()] = (affine[:3, :3] @ indices + affine[:3, 3:]).T
    z, y, x = (axis.ravel() for axis in np.broadcast_arrays(grid.z, grid.y, grid.x))
    painted = np.stack((-x, -y, -z), axis=1)  # NIfTI's millimetres run to the right, to the front and up
    np.testing.assert_allclose(places - places[0], painted - painted[0], atol=1e-9)


@pytest.mark.parametrize("grain", [0, 0.5, 1.2])
def test_noise_has_its_strength_whatever_its_grain_and_no_mean(grain):
    exposed = scanner(noise=30, grain=grain).expose(np.random.default_rng(1), np.full((6, 64, 64), 100, np.float32))
    assert exposed.std() == pytest.approx(30, rel=1e-3)
    assert exposed.mean() == pytest.approx(100, abs=4)
