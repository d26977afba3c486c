# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.unlike import FAR, Look, intensities, odd_intensities, odd_spacing, orientation, unlike
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from scipy.stats import median_abs_deviation

VALUES = st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=20)


@given(VALUES, st.floats(0.01, 100))
def test_unlike_is_scipys_robust_distance(values, least):
    far = np.abs(np.subtract(values, np.median(values)))
    limit = max(FAR * 1.4826 * median_abs_deviation(values), least)
    assert unlike(values, least) == [k for k in range(len(values)) if far[k] > limit]


def test_of_two_nobody_can_tell():
    assert unlike([0, 1000], 1) == []
    assert unlike([0, 1000, 0], 1) == [1]


def test_percentiles_are_numpys_and_of_large_scans_near_them():
    rng = np.random.default_rng(0)
    image = rng.normal(100, 30, (40, 50, 60))
    label = (image > 140).astype(np.uint8)
    low, high, organ = intensities(image, label)
    assert (low, high) == pytest.approx(tuple(np.percentile(image, (0.5, 99.5))))
    assert organ == pytest.approx(np.median(image[label > 0]))
    assert intensities(image, np.zeros_like(label))[2] is None
    large = rng.normal(100, 30, (200, 250, 260)).astype(np.float32)
    assert intensities(large, np.zeros(large.shape, np.uint8))[:2] == pytest.approx((100 - 77.3, 100 + 77.3), abs=2)


def looks(lows, gains=None, spacing=(3.0, 1.0, 1.0)) -> list[Look]:
    gains = gains or [1.0] * len(lows)
    return [
        Look("A", f"c{k}", low * gain, (low + 1000) * gain, (low + 600) * gain, spacing, "RAS")
        for k, (low, gain) in enumerate(zip(lows, gains, strict=True))
    ]


def test_the_gain_of_a_scan_without_a_unit_is_no_oddity_but_an_offset_is():
    assert [*odd_intensities(looks([0.0] * 5, [1, 3, 0.5, 10, 1]), absolute=False)] == []
    assert {case for case, _ in odd_intensities(looks([0.0] * 5, [1, 3, 1, 10, 1]), absolute=True)} == {"c1", "c3"}
    assert {case for case, _ in odd_intensities(looks([0.0, 0, 0, 0, 1024]), absolute=False)} == {"c4"}


def test_spacing_counts_by_factors():
    def odd(*thick):
        scans = [looks([0], spacing=(mm, 1.0, 1.0))[0] for mm in thick]
        return len([*odd_spacing(scans)]) > 0

    assert not odd(3.0, 3.0, 3.0, 5.0)
    assert odd(3.0, 3.0, 3.0, 6.0)
    assert odd(3.0, 3.0, 3.0, 1.5)
    assert not odd(1.0, 2.0, 3.0, 4.0, 8.0)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPL", "PIR"])
def test_orientation_is_of_the_files_axes(codes):
    affine = inv_ornt_aff(axcodes2ornt(tuple(codes)), (5, 6, 7))
    assert orientation(np.linalg.inv(affine)) == codes
