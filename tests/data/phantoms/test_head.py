# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.phantoms.head import BRAIN, GREY, WHITE, draw
from flap_sam.data.phantoms.mr import FAT, WATER, MrBody, MrScanner

from tests.data.phantoms.grids import cube

SIDE, COUNT = 280.0, 56
T1 = MrScanner(
    repetition=450, echo=10, gain=1000, shading=0.0, noise=1, grain=1, field=SIDE, heights=(90, 110), slices=8
)


@pytest.fixture(scope="module", params=range(3))
def head(request) -> MrBody:
    """A head of one tissue a voxel, as its coils are even."""
    return draw(np.random.default_rng(request.param), T1, cube(COUNT, SIDE))


def of(head, *tissues) -> np.ndarray:
    return np.isin(head.values, [np.float32(T1.signal(tissue)) for tissue in tissues])


def test_a_brain_has_a_brains_volume_and_is_held_by_fluid_bone_and_fat(head):
    brain = head.label == BRAIN
    assert set(np.unique(head.label)) == {0, BRAIN}
    assert 800 < brain.sum() * (SIDE / (COUNT - 1)) ** 3 / 1000 < 1900, "ml"
    assert of(head, GREY, WHITE, WATER)[brain].all()
    for axis in range(3):
        fat = np.nonzero(of(head, FAT).any(axis=tuple({0, 1, 2} - {axis})))[0]
        held = np.nonzero(brain.any(axis=tuple({0, 1, 2} - {axis})))[0]
        assert fat.min() < held.min()
        assert fat.max() > held.max()


def test_fluid_is_in_the_middle_and_white_matter_below_the_grey(head):
    z, y, x = (np.abs(axis) for axis in (head.z, head.y, head.x))
    near = (z < 30) & (y < 40) & (x < 20)
    assert (of(head, WATER) & near & (head.label == BRAIN)).any(), "the ventricles"
    far = head.distance((0, 0, -8), (78, 98, 88))
    brain = head.label == BRAIN
    assert np.median(far[of(head, WHITE) & brain]) < np.median(far[of(head, GREY) & brain])


def test_the_cord_in_the_neck_is_no_brain(head):
    low = head.z > 75
    assert (of(head, WHITE) & low).any()
    assert not head.label[low].any()
