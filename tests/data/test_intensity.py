# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
from flap_sam.data.geometry import Volume
from flap_sam.data.intensity import CODE_MAXIMUM, SiteIntensity, VolumeIntensity, encode
from flap_sam.errors import FlapSamError
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.data.volumes import EYE, INTENSITY


def volume(array: np.ndarray) -> Volume:
    return Volume(Path("scan.nii.gz"), array, (1.0, 1.0, 1.0), EYE, array.shape)


@given(arrays(np.int16, (2, 3, 4), elements=st.integers(-2000, 3000), unique=True))
def test_codes_stand_for_the_clipped_intensities(array):
    wide = SiteIntensity(low=-1500.0, high=2500.0, mean=0.0, std=1.0)
    assume(np.ptp(array.clip(-1500, 2500)) > 0)
    encoded = encode(volume(array), wide)
    decoded = encoded.minimum + encoded.codes / CODE_MAXIMUM * (encoded.maximum - encoded.minimum)
    np.testing.assert_allclose(decoded, array.clip(-1500, 2500), atol=4000 / CODE_MAXIMUM)
    assert encoded.codes.min() == 0
    assert encoded.codes.max() == CODE_MAXIMUM


def test_scaling_a_scan_changes_no_code():
    array = np.random.default_rng(0).normal(100, 40, (3, 8, 8))
    by_volume = VolumeIntensity(low_percentile=0.5, high_percentile=99.5)
    codes = encode(volume(array), by_volume).codes.astype(int)
    scored = encode(volume((array - 100) / 40), by_volume).codes.astype(int)
    assert np.abs(codes - scored).max() <= 1


def test_volume_percentiles_cut_both_tails():
    array = np.arange(1000.0).reshape(10, 10, 10)
    encoded = encode(volume(array), VolumeIntensity(low_percentile=10, high_percentile=80))
    assert (encoded.minimum, encoded.maximum) == pytest.approx((99.9, 799.2))


def test_scan_without_contrast_is_refused_by_name():
    with pytest.raises(FlapSamError, match=r"scan\.nii\.gz has the one intensity 300 everywhere after clipping"):
        encode(volume(np.full((2, 2, 2), 900, np.int16)), INTENSITY)
