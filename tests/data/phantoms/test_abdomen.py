# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.phantoms.abdomen import AIR, BONE, FAT, GAS, Abdomen, draw

from tests.data.phantoms.grids import cube

GRID = cube(64, 390, slices=12)


@pytest.fixture(scope="module", params=range(3))
def abdomen(request) -> Abdomen:
    return draw(np.random.default_rng(request.param), GRID, phase=1.0)


def test_a_patient_is_whole_in_air_and_has_no_kidney_yet(abdomen):
    values = abdomen.values
    assert values.shape == abdomen.label.shape == abdomen.cavity.shape == GRID.shape
    assert not abdomen.label.any()
    rim = np.concatenate([values[:, [0, -1]].ravel(), values[:, :, [0, -1]].ravel()])
    assert (rim == AIR).all()
    assert (values[:, 32, 32] > AIR).all(), "the middle is the patient's in every slice"
    assert values.min() == AIR
    assert values.max() <= BONE


def test_the_cavity_lies_within_fat_and_holds_the_organs(abdomen):
    outside = ~abdomen.cavity & (abdomen.values > AIR)
    assert abdomen.cavity.any(axis=(1, 2)).all()
    assert (abdomen.values[outside] == FAT).mean() > 0.1, "the rim under the skin"
    gas = abdomen.values == GAS
    assert gas.any()
    assert (gas <= abdomen.cavity).all()


def test_the_spine_lies_behind_in_the_middle(abdomen):
    _, rows, columns = np.nonzero(abdomen.values >= BONE - 100)
    assert 32 < rows.mean() < 60
    assert columns.mean() == pytest.approx(31.5, abs=4)


def test_contrast_agent_brightens_what_takes_it_up_and_nothing_else():
    plain, filled = (draw(np.random.default_rng(4), GRID, phase) for phase in (0.0, 1.0))
    change = filled.values - plain.values
    assert change.min() == 0
    assert change.max() == pytest.approx(135), "the aorta's uptake"
    assert (change[~filled.cavity] == 0).all()


@pytest.mark.parametrize(("phase", "expected"), [(0, 40), (0.5, 75), (1.2, 124)])
def test_uptake_grows_with_the_phase(phase, expected):
    nothing = np.zeros((1, 1, 1))
    body = Abdomen(x=nothing, y=nothing, z=nothing, values=nothing, label=nothing, cavity=nothing > 0, phase=phase)
    assert body.enhanced(40, 70) == pytest.approx(expected)


def test_an_ellipsoid_ends_at_the_muscles():
    body = draw(np.random.default_rng(0), GRID, phase=1.0)
    before = body.values.copy()
    body.fill((0, 0, 0), (1e4, 1e4, 1e4), 7.0)
    assert (body.values[body.cavity] == 7).all()
    np.testing.assert_array_equal(body.values[~body.cavity], before[~body.cavity])
