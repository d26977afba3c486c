# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from flap_sam.data.intensity import SiteIntensity
from flap_sam.data.sources.kits19 import (
    FED_KITS19,
    PUBLISHED,
    Kits19,
    PublishedKits19,
    case_files,
    foreground_histogram,
    table,
)
from flap_sam.data.sources.source import SourceCase
from flap_sam.data.volumes import read_pair
from flap_sam.errors import FlapSamError

from tests.data.volumes import save

AFFINE = np.array(((0, 0, -0.8, 0), (0, -0.8, 0, 0), (-5.0, 0, 0, 0), (0, 0, 0, 1)))
MASKS = Path(__file__).parents[4] / "shared" / "data" / "kits19_masks"


@pytest.fixture
def folder(tmp_path):
    """Site A with small random volumes."""
    rng = np.random.default_rng(1)
    for number in (*FED_KITS19["A"]["train"], *FED_KITS19["A"]["test"]):
        image_path, label_path = case_files(tmp_path, f"case_{number:05d}")
        save(image_path, rng.normal(100, 80, (3, 7, 6)).round().astype(np.int16), AFFINE)
        save(label_path, rng.integers(0, 3, (3, 7, 6), np.uint8), AFFINE)
    return tmp_path


def test_every_case_belongs_to_one_site_and_split():
    numbers = [number for site in FED_KITS19.values() for split in site.values() for number in split]
    assert len(numbers) == len(set(numbers)) == 96
    sizes = {site: (len(splits["train"]), len(splits["test"])) for site, splits in FED_KITS19.items()}
    assert sizes == {"A": (9, 3), "B": (11, 3), "C": (9, 3), "D": (9, 3), "E": (12, 4), "F": (24, 6)}


def test_cases_of_a_site(folder):
    cases = Kits19(folder).cases("A")
    assert [case.id for case in cases if case.split == "test"] == ["case_00181", "case_00195", "case_00208"]
    assert len(cases) == 12


@pytest.mark.parametrize("file", [0, 1])
def test_missing_case_is_named(folder, file):
    case_files(folder, "case_00129")[file].unlink()
    with pytest.raises(FlapSamError, match="of case case_00129, site A, does not exist"):
        Kits19(folder).cases("A")


def test_table_is_that_of_all_foreground_voxels_of_the_training_cases(folder):
    source = Kits19(folder)
    values = []
    for case in source.cases("A"):
        if case.split == "train":
            image, label = read_pair(case.image, case.label, 2)
            values.append(image.array[label > 0])
    values = np.concatenate(values)
    found = source.intensity("A")
    low, high = np.percentile(values, (5, 95), method="inverted_cdf")
    assert (found.low, found.high) == (low, high)
    assert (found.mean, found.std) == pytest.approx((values.mean(), values.std()))


def test_floating_point_scans_are_counted_by_whole_hu(tmp_path):
    image = save(tmp_path / "i.nii", np.array([[[-40.4, 99.6, 1e9, 7.0]]], np.float32))
    label = save(tmp_path / "l.nii", np.array([[[1, 2, 1, 0]]], np.uint8))
    counts = foreground_histogram(SourceCase("x", "train", image, label))
    assert np.flatnonzero(counts).tolist() == [32768 - 40, 32768 + 100, 65535]
    counts[65535] = 0
    assert table(counts).mean == pytest.approx(30)


def test_published_tables_need_no_volumes(tmp_path):
    assert PublishedKits19(tmp_path).intensity("F") == PUBLISHED["F"]
    assert PUBLISHED["F"] == SiteIntensity(low=-82, high=288, mean=105.312, std=76.499)
    assert PUBLISHED.keys() == FED_KITS19.keys()


def test_site_without_foreground_is_refused(folder):
    for case in Kits19(folder).cases("A"):
        save(case.label, np.zeros((3, 7, 6), np.uint8), AFFINE)
    with pytest.raises(FlapSamError, match=r"site A .* no labelled voxel"):
        Kits19(folder).intensity("A")


@pytest.mark.skipif(not MASKS.is_dir(), reason="the real KiTS19 masks are not here")
def test_real_mask_with_a_synthetic_image(tmp_path):
    """The image holds each voxel's patient x in mm, which must fall from column to column."""
    mask_path = MASKS / "data" / "case_00038" / "segmentation.nii.gz"
    mask = nib.load(mask_path)
    x = mask.affine[0, 2] * np.arange(mask.shape[2]) + mask.affine[0, 3]
    image = np.broadcast_to(np.rint(x), mask.shape).astype(np.int16)
    volume, label = read_pair(save(tmp_path / "imaging.nii.gz", image, mask.affine), mask_path, 2)
    assert label.shape == (32, 512, 512)
    assert set(np.unique(label)) == {0, 1, 2}
    assert (np.diff(volume.array[0, 0].astype(int)) <= 0).all()
    assert volume.array[0, 0, 0] > volume.array[0, 0, -1]
    np.testing.assert_array_equal(label, np.asarray(mask.dataobj)[::-1])
