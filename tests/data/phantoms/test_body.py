# SPDX-License-Identifier: Apache-2.0
import numpy as np
from flap_sam.data.phantoms.body import Body, warped


def axes(count=40, side=240.0):
    z, y, x = np.meshgrid(*[np.linspace(-side / 2, side / 2, count)] * 3, indexing="ij", sparse=True)
    return x, y, z


def test_an_ellipsoid_has_its_volume_and_its_middle():
    x, y, z = (np.broadcast_to(axis, (40, 40, 40)) for axis in axes())
    body = Body(x, y, z, np.zeros((40, 40, 40)), np.zeros((40, 40, 40)))
    inside = body.inside((10, -20, 30), (60, 40, 50))
    volume = inside.sum() * (240 / 39) ** 3
    np.testing.assert_allclose(volume, 4 / 3 * np.pi * 60 * 40 * 50, rtol=0.02)
    np.testing.assert_allclose([axis[inside].mean() for axis in (x, y, z)], (10, -20, 30), atol=1)


def test_a_warp_moves_no_point_by_more_than_5_mm_and_folds_nothing():
    for seed in range(10):
        straight = axes()
        for number, (bent, axis) in enumerate(
            zip(warped(np.random.default_rng(seed), *straight), straight, strict=True)
        ):
            assert 1 < np.abs(bent - axis).max() <= 5
            assert (np.diff(bent, axis=2 - number) > 0).all()
