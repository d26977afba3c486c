# SPDX-License-Identifier: Apache-2.0
import pytest
from flap_sam.data.intensity import SiteIntensity, VolumeIntensity
from flap_sam.errors import FlapSamError
from flap_sam.inference.intensities import clipped, conventions, kits19_mean

from tests.conftest import write_site


def test_the_store_says_how_its_sites_scans_are_prepared(small, store):
    used = conventions(small, store, "B", None)
    assert used.intensity == SiteIntensity(low=0.0, high=1.0, mean=0.5, std=0.2)
    assert used.names(2) == ["organ", "lesion"]


def test_what_is_asked_for_goes_first(small, store):
    used = conventions(small, store, "B", ("-80", "300"))
    assert (used.intensity.low, used.intensity.high) == (-80, 300)
    assert used.names(2) == ["organ", "lesion"], "all but the clipping is the store's"
    assert conventions(small, None, None, ("-80", "300")).names(2) == ["class 1", "class 2"]


def test_percentiles_have_a_sign():
    assert clipped("0.5%", "99%") == VolumeIntensity(low_percentile=0.5, high_percentile=99.0)


@pytest.mark.parametrize("clip", [("3", "1"), ("a", "b"), ("1%", "9"), ("-1%", "50%"), ("5%", "101%"), ("nan", "1")])
def test_a_clip_that_means_nothing_is_refused(clip):
    with pytest.raises(FlapSamError, match=f"--clip is {clip[0]} {clip[1]}"):
        clipped(*clip)


def test_kits19_is_known_and_nothing_else(small):
    used = conventions(small.changed(dataset="kits19"), None, None, None)
    assert used.intensity == kits19_mean()
    assert -82 < used.intensity.low < -64
    assert 202 < used.intensity.high < 341
    with pytest.raises(FlapSamError, match="Nothing says which intensities"):
        conventions(small.changed(dataset="nifti"), None, None, None)


def test_the_site_is_named_where_there_are_several(small, store, tmp_path):
    with pytest.raises(FlapSamError, match="sites A, B, C; name the --site"):
        conventions(small, store, None, None)
    write_site(tmp_path / "one", "X", {"train": [(3, 20, 20)]})
    assert conventions(small, tmp_path / "one", None, None).told.startswith("as of site X")
    with pytest.raises(FlapSamError, match="name the --site"):
        conventions(small, store, None, ("0", "1"))
    with pytest.raises(FlapSamError, match="names 2 classes, the payload has 3"):
        conventions(small.changed(classes=3), store, "A", None)
