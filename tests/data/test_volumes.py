# SPDX-License-Identifier: Apache-2.0
import gzip

import nibabel as nib
import numpy as np
import pytest
from flap_sam.data.geometry import to_original
from flap_sam.data.volumes import read_pair, read_volume
from flap_sam.errors import FlapSamError

from tests.data.test_geometry import SHAPE
from tests.data.volumes import save


def test_intensities_are_scaled_as_the_header_says(tmp_path):
    scan = nib.Nifti1Image(np.full((2, 2, 2), 7, np.int16), np.eye(4))
    scan.header.set_slope_inter(2, -10)
    nib.save(scan, tmp_path / "scan.nii")
    stored = nib.load(tmp_path / "scan.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii").array, stored.get_fdata())


def test_labels_are_read_as_bytes_even_from_floats(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.float32)
    image = save(tmp_path / "image.nii.gz", np.zeros(SHAPE, np.int16))
    _, label = read_pair(image, save(tmp_path / "label.nii.gz", labels), 2)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(to_original(label, tuple(map(tuple, np.eye(4))), SHAPE), labels)


def bad_value(value):
    array = np.zeros(SHAPE, np.float32)
    array[0, 0, 0] = value
    return array


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (bad_value(np.nan), "not finite"),
        (bad_value(np.inf), "not finite"),
        (np.zeros((2, 3, 4, 5), np.int16), r"shape \(2, 3, 4, 5\), expected one 3D"),
        (np.zeros((3, 4), np.int16), "expected one 3D"),
        (np.zeros(SHAPE, np.complex64), "complex64 voxels, expected one real number each"),
    ],
)
def test_odd_volumes_are_refused_by_name(tmp_path, array, sentence):
    path = save(tmp_path / "odd.nii.gz", array)
    with pytest.raises(FlapSamError, match=rf"odd\.nii\.gz.*{sentence}"):
        read_volume(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FlapSamError, match=r"gone\.nii\.gz cannot be opened \(No such file"):
        read_volume(tmp_path / "gone.nii.gz")


@pytest.mark.parametrize("kept", [0, 10, 100, 0.5, 0.98])
def test_truncated_download_is_named(tmp_path, kept):
    path = save(tmp_path / "scan.nii.gz", np.random.default_rng(0).integers(-1000, 1000, (9, 30, 30)).astype(np.int16))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(FlapSamError, match=r"scan\.nii\.gz cannot be read.*truncated"):
        read_volume(path)


def test_truncated_plain_nifti_and_other_files_are_named(tmp_path):
    path = save(tmp_path / "scan.nii", np.zeros(SHAPE, np.int16))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FlapSamError, match=r"scan\.nii cannot be read"):
        read_volume(path)
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"no volume"))
    with pytest.raises(FlapSamError, match=r"text\.nii\.gz cannot be read"):
        read_volume(tmp_path / "text.nii.gz")


def test_label_of_another_shape_is_refused(tmp_path):
    image = save(tmp_path / "image.nii.gz", np.zeros(SHAPE, np.int16))
    label = save(tmp_path / "label.nii.gz", np.zeros((4, 6, 8), np.uint8))
    with pytest.raises(FlapSamError, match=r"label\.nii\.gz has shape \(4, 6, 8\), but .* has shape \(4, 6, 9\)"):
        read_pair(image, label, 2)


@pytest.mark.parametrize(("shift", "fits"), [(0.05, True), (0.2, False)])
def test_label_affine_must_agree_within_a_tenth_of_a_voxel(tmp_path, shift, fits):
    moved = np.eye(4)
    moved[1, 3] += shift
    image = save(tmp_path / "image.nii.gz", np.zeros(SHAPE, np.int16))
    label = save(tmp_path / "label.nii.gz", np.ones(SHAPE, np.uint8), moved)
    if fits:
        assert read_pair(image, label, 2)[1].all()
    else:
        with pytest.raises(FlapSamError, match=r"label\.nii\.gz has an affine"):
            read_pair(image, label, 2)


@pytest.mark.parametrize("value", [3, -1, 0.5])
def test_labels_outside_the_classes_are_refused(tmp_path, value):
    image = save(tmp_path / "image.nii.gz", np.zeros(SHAPE, np.int16))
    label = save(tmp_path / "label.nii.gz", bad_value(value))
    with pytest.raises(FlapSamError, match=rf"label\.nii\.gz holds the label {value}, expected .* 0 to 2"):
        read_pair(image, label, 2)
