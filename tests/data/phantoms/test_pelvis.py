# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from flap_sam.data.phantoms.mr import AIR, FAT, WATER, MrBody
from flap_sam.data.phantoms.pelvis import CORE, LESION, NODULE, PROSTATE, RIM, STOOL, PelvicScanner, draw

from tests.data.phantoms.grids import cube

SIDE, COUNT = 200.0, 56
T2 = PelvicScanner(
    repetition=4000, echo=100, gain=1000, shading=0.0, noise=1, grain=1, field=SIDE, heights=(60, 74), slices=8
)


@pytest.fixture(scope="module", params=range(4))
def pelvis(request) -> MrBody:
    return draw(np.random.default_rng(request.param), T2, cube(COUNT, SIDE))


def of(pelvis, *tissues) -> np.ndarray:
    return np.isin(pelvis.values, [np.float32(T2.signal(tissue)) for tissue in tissues])


def test_a_prostate_has_its_volume_and_lies_between_bladder_and_rectum(pelvis):
    gland = pelvis.label == PROSTATE
    assert set(np.unique(pelvis.label)) == {0, PROSTATE}
    assert 15 < gland.sum() * (SIDE / (COUNT - 1)) ** 3 / 1000 < 150, "ml"
    urine = of(pelvis, WATER) & (pelvis.z < -25) & (np.abs(pelvis.x) < 20) & (pelvis.y < 0)
    assert pelvis.z[urine].mean() < pelvis.z[gland].min() + 10, "above it; z runs to the feet"
    gut = of(pelvis, STOOL) | (of(pelvis, AIR) & (np.abs(pelvis.x) < 20) & (np.abs(pelvis.z) < 10) & (pelvis.y > 0))
    assert pelvis.y[gut].mean() > pelvis.y[gland].mean() + 15, "behind it"


def test_its_core_is_darker_than_its_rim_and_within_it(pelvis):
    inner, outer = (of(pelvis, tissue) & (pelvis.label == PROSTATE) for tissue in (CORE, RIM))
    assert T2.signal(CORE) < T2.signal(NODULE) < T2.signal(RIM)
    assert T2.signal(LESION) < T2.signal(CORE)
    assert outer.any()
    assert inner.any()
    middle = [axis[pelvis.label == PROSTATE].mean() for axis in (pelvis.x, pelvis.y, pelvis.z)]
    far = pelvis.distance(tuple(middle), (1, 1, 1))
    assert far[inner].mean() < far[outer].mean()


@pytest.mark.parametrize("coil", [0.9, 1.2])
def test_a_coil_brightens_the_more_the_nearer(coil):
    grid = cube(COUNT, SIDE)
    plain, bright = (draw(np.random.default_rng(2), replace(T2, coil=by), grid) for by in (1e-9, coil))
    seen = plain.values > 0
    gain = bright.values[seen] / plain.values[seen]
    far = np.sqrt(plain.distance((0, 36, 0), (45, 45, 60)))[seen]
    np.testing.assert_allclose(gain, 1 + coil * np.exp(-(far**2)), rtol=1e-4)
    np.testing.assert_array_equal(plain.label, bright.label)


def test_a_coil_fills_the_rectum_with_air():
    grid = cube(COUNT, SIDE)
    for seed in range(6):
        drawn = draw(np.random.default_rng(seed), replace(T2, coil=1e-9), grid)
        assert not of(drawn, STOOL).any()


def test_fat_is_around_the_hips(pelvis):
    assert of(pelvis, FAT)[:, 0].mean() > 0.5
