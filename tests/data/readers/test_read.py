# SPDX-License-Identifier: Apache-2.0
"""One function for every kind of volume, chosen by its name, or by its content where that has no ending."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from flap_sam.data.readers.raw import TO_RAS
from flap_sam.data.readers.read import read
from flap_sam.errors import FlapSamError

from tests.data import dicom_objects as objects

SIZES = (0.75, 1.5, 3.0)
AFFINE = TO_RAS @ np.diag((*SIZES, 1.0))


def numbers():
    return np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def write(path):
    if path.suffix.lower() in (".mha", ".nrrd"):
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(numbers().T))
        image.SetSpacing(SIZES)
        SimpleITK.WriteImage(image, str(path.with_suffix(path.suffix.lower())))
        path.with_suffix(path.suffix.lower()).rename(path)
    elif path.suffix == ".img":
        nib.save(nib.Nifti1Pair(numbers(), AFFINE), path.with_suffix(".hdr"))
    else:
        nib.Nifti1Image(numbers(), AFFINE).to_filename(path)
    return path


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.img", "x.mha", "x.MHA", "x.nrrd"])
def test_the_same_volume_of_every_kind_is_the_same(tmp_path, name):
    found = read(write(tmp_path / name))
    np.testing.assert_array_equal(found.array, numbers())
    np.testing.assert_allclose(found.affine, AFFINE)


def test_a_dicom_file_needs_no_ending_and_a_folder_is_its_series(tmp_path):
    objects.series(tmp_path / "ct", numbers(), [0, 3, 6])
    objects.save(objects.enhanced(numbers() - 1024, [0, 3, 6]), tmp_path / "one_file")
    series, frames = read(tmp_path / "ct"), read(tmp_path / "one_file")
    np.testing.assert_array_equal(series.array, frames.array)
    np.testing.assert_allclose(series.affine, frames.affine)


def test_notes_on_the_folder_come_before_those_on_its_slices(tmp_path):
    def change(made, number):
        made.KVP = 80 + number

    objects.series(tmp_path / "ct", numbers(), [0, 3, 6], change)
    (tmp_path / "ct" / "report.txt").write_text("x")
    aside, odd = read(tmp_path / "ct").notes
    assert "report.txt" in aside
    assert "KVP" in odd


@pytest.mark.parametrize("name", ["x.png", "x", "nii", "gone.jpg"])
def test_another_kind_is_refused_with_those_that_are_read(tmp_path, name):
    if not name.startswith("gone"):
        (tmp_path / name).write_bytes(b"\x89PNG" + bytes(200))
    with pytest.raises(FlapSamError, match=rf"{name} is neither NIfTI nor DICOM.*\.nii\.gz, \.nii, \.hdr, \.mha"):
        read(tmp_path / name)
