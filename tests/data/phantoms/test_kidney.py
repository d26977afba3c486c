# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.phantoms.abdomen import AIR, Abdomen
from flap_sam.data.phantoms.kidney import ANNOTATED, KIDNEY, TUMOUR, Kidney, paint_kidney

from tests.data.phantoms.grids import cube

SIDE, COUNT = 280.0, 50
MILLILITRES = (SIDE / (COUNT - 1)) ** 3 / 1000


def cavity() -> Abdomen:
    """Nothing but the fat of a cavity, unwarped, in contrast phase 1."""
    grid = cube(COUNT, SIDE)
    x, y, z = (np.broadcast_to(axis, grid.shape) for axis in (grid.x, grid.y, grid.z))
    values, inside = np.full(grid.shape, -95, np.float32), np.ones(grid.shape, bool)
    return Abdomen(x=x, y=y, z=z, values=values, label=np.zeros(grid.shape, np.uint8), cavity=inside, phase=1.0)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("seed", range(4))
def test_a_kidney_lies_on_its_side_and_has_a_kidneys_volume(side, seed):
    body = cavity()
    paint_kidney(body, np.random.default_rng(seed), side, with_tumour=False)
    held = body.label == KIDNEY
    assert set(np.unique(body.label)) == {0, KIDNEY}
    assert 80 < held.sum() * MILLILITRES < 330, "ml"
    assert (side * body.x[held] > 15).all()
    assert np.median(body.values[held]) > 80, "flesh takes up the agent"


@pytest.mark.parametrize("side", [-1, 1])
def test_the_hilum_looks_inwards(side):
    body = cavity()
    kidney = Kidney.place(body, np.random.default_rng(1), side)
    inner = kidney.distance((-0.8, 0, 0), (0.2, 0.2, 0.2)) < 1
    outer = kidney.distance((0.8, 0, 0), (0.2, 0.2, 0.2)) < 1
    assert side * body.x[outer].mean() > side * body.x[inner].mean() + 20


def test_distances_are_in_units_of_the_radii():
    kidney = Kidney(*(np.array(axis, float) for axis in ([30, 0, 0], [0, 28, 0], [0, 0, 110])), (30.0, 28.0, 55.0))
    np.testing.assert_allclose(kidney.distance(), [1, 1, 4])
    np.testing.assert_allclose(kidney.distance((1, 0, 0), (0.5, 1, 2)), [0, 4 + 1, 4 + 1])
    np.testing.assert_allclose(kidney.ball((0, 0, 0), 15.0), [4, (28 / 15) ** 2, (110 / 15) ** 2])


@pytest.mark.parametrize("seed", range(4))
def test_a_tumour_is_on_its_kidney_and_in_the_patient(seed):
    body = cavity()
    body.values[:, :, body.x[0, 0] < 0] = AIR  # beside a patient who ends in the middle
    paint_kidney(body, np.random.default_rng(seed), 1, with_tumour=True)
    tumour = body.label == TUMOUR
    assert 1 < tumour.sum() * MILLILITRES < 500, "ml"
    grown = np.zeros_like(tumour)
    for axis in range(3):
        for step in (-1, 1):
            grown |= np.roll(tumour, step, axis)
    assert (grown & (body.label == KIDNEY)).any(), "they touch"
    assert (body.values[tumour] > AIR).all()


def test_what_is_drawn_by_hand_takes_in_a_little_of_the_fat():
    body = cavity()
    paint_kidney(body, np.random.default_rng(0), 1, with_tumour=False)
    kidney = Kidney.place(cavity(), np.random.default_rng(0), 1)
    depth = kidney.distance()
    rim = (depth > 1.001) & (depth < ANNOTATED - 0.001) & (kidney.u > 0)
    assert rim.any()
    assert (body.label[rim] == KIDNEY).all()
    assert not body.label[depth > ANNOTATED].any()
