# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.geometry import volume_of
from flap_sam.data.readers.dicom import read_series
from flap_sam.data.readers.dicom_dataset import is_dicom
from flap_sam.data.readers.dicom_files import series_below
from flap_sam.errors import FlapSamError

from tests.data.dicom import without_position, write_series

AXIAL = np.array([[-0.8, 0, 0, 70.0], [0, -0.9, 0, 50.0], [0, 0, 2.5, -300.0], [0, 0, 0, 1]])
SAGITTAL = np.array([[0, 0, 3.0, -40.0], [0.7, 0, 0, -20.0], [0, -0.7, 0, 90.0], [0, 0, 0, 1]])


def series_in(folder):
    """The files of every series, from the patient's feet on, against which their names run."""
    return [sorted(series.files, reverse=True) for series in series_below(folder).series]


def scan(shape=(7, 5, 6)) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape) - 100


TILTED = np.array([[-0.8, 0, 0, 70.0], [0, -0.9, 0.6, 50.0], [0, 0, 2.0, -300.0], [0, 0, 0, 1]])


@pytest.mark.parametrize("affine", [AXIAL, SAGITTAL, TILTED], ids=["axial", "sagittal", "tilted gantry"])
def test_every_voxel_keeps_its_place_in_the_patient(tmp_path, affine):
    array = scan()
    (files,) = series_in(write_series(tmp_path, array, affine))
    raw = read_series(files)
    read, found = raw.array, raw.affine
    assert raw.notes == ()
    by_place = {tuple(np.round((found @ [*ijk, 1])[:3], 2)): read[ijk] for ijk in np.ndindex(read.shape)}
    assert len(by_place) == array.size
    for ijk in np.ndindex(array.shape):
        assert by_place[tuple(np.round((affine @ [*ijk, 1])[:3], 2))] == array[ijk]


def test_store_orientation_is_found_as_for_nifti(tmp_path):
    (files,) = series_in(write_series(tmp_path, scan(), SAGITTAL))
    volume = volume_of(tmp_path, read_series(files))
    assert volume.spacing == pytest.approx((0.7, 0.7, 3.0))
    assert volume.array.shape == (5, 7, 6)


def test_series_are_told_apart(tmp_path):
    write_series(tmp_path, scan(), AXIAL, "1.2.3")
    write_series(tmp_path, scan((4, 4, 3)), AXIAL, "1.2.4")
    assert [len(files) for files in series_in(tmp_path)] == [6, 3]
    assert all(is_dicom(file) for files in series_in(tmp_path) for file in files)


def test_a_missing_slice_is_named(tmp_path):
    (files,) = series_in(write_series(tmp_path, scan(), AXIAL, leave_out=3))
    with pytest.raises(FlapSamError, match=r"slices 3 and 4 5 mm apart, the others 2\.5 mm"):
        read_series(files)


@pytest.mark.parametrize("without", [range(6), [0], [3], [5]], ids=["all", "first", "within", "last"])
def test_a_slice_without_a_position_is_named(tmp_path, without):
    (files,) = series_in(write_series(tmp_path, scan(), AXIAL))
    for k in without:
        without_position(files[k])
    (files,) = series_in(tmp_path)
    with pytest.raises(FlapSamError, match=r"has a slice, .*, that does not say where it lies") as caught:
        read_series(files)
    assert any(f"{6 - k:03}.dcm" in str(caught.value) for k in without)


def test_a_position_of_two_numbers_is_none(tmp_path):
    (files,) = series_in(write_series(tmp_path, scan(), AXIAL))
    content = files[2].read_bytes()
    assert content.count(rb"-50\-295") == 1
    files[2].write_bytes(content.replace(rb"-50\-295", b"-50.-295"))
    with pytest.raises(FlapSamError, match=rf"{files[2].name}, that does not say where it lies"):
        read_series(files)


def test_a_single_slice_is_no_volume(tmp_path):
    (files,) = series_in(write_series(tmp_path, scan((4, 5, 1)), AXIAL))
    with pytest.raises(FlapSamError, match="has a single slice"):
        read_series(files)


def test_a_damaged_file_is_one_sentence(tmp_path):
    (files,) = series_in(write_series(tmp_path, scan(), AXIAL))
    files[2].write_bytes(files[2].read_bytes()[:400])
    with pytest.raises(FlapSamError, match="cannot be read") as caught:
        read_series(files)
    assert "\n" not in str(caught.value)
