# SPDX-License-Identifier: Apache-2.0
import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from flap_sam.errors import FlapSamError
from flap_sam.inference.scans import scans_at
from PIL import Image

from tests.data.dicom import write_series
from tests.data.volumes import save

VOLUME = np.zeros((4, 5, 6), np.int16)


@pytest.fixture
def folder(tmp_path):
    """Two NIfTI files, two folders of DICOM, one of them with two series, and what else lies about."""
    save(tmp_path / "b.nii.gz", VOLUME)
    save(tmp_path / "a.nii", VOLUME)
    (tmp_path / "notes.txt").write_text("x")
    write_series(tmp_path / "ct", VOLUME, np.eye(4))
    write_series(tmp_path / "two", VOLUME, np.eye(4), "1.2.3")
    write_series(tmp_path / "two", VOLUME, np.eye(4), "1.2.4")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_folder_holds_files_and_folders_of_series(folder):
    assert [scan.name for scan in scans_at(folder).scans] == ["a", "b", "ct", "two-1", "two-2"]
    assert all(sorted(scan.read().array.shape) == [4, 5, 6] for scan in scans_at(folder).scans)


def test_one_file_or_one_series(folder):
    assert [scan.name for scan in scans_at(folder / "b.nii.gz").scans] == ["b"]
    assert [scan.name for scan in scans_at(folder / "ct").scans] == ["ct"]


def test_what_is_no_scan_is_one_sentence(folder):
    Image.new("L", (8, 8)).save(folder / "slice.png")
    for path, words in (
        (folder / "slice.png", "is neither NIfTI nor DICOM"),
        (folder / "empty", "holds no volume"),
        (folder / "nowhere", "does not exist"),
    ):
        with pytest.raises(FlapSamError, match=words):
            scans_at(path)


def test_two_scans_of_one_name_are_refused(folder):
    save(folder / "b.nii", VOLUME)
    with pytest.raises(FlapSamError, match="both be called b"):
        scans_at(folder)


def test_every_kind_of_volume_is_a_scan(tmp_path):
    for name in ("one.nii.gz", "two.nii"):
        save(tmp_path / name, VOLUME)
    (tmp_path / "two.nii").rename(tmp_path / "TWO.NII")
    nib.save(nib.Nifti1Pair(VOLUME, np.eye(4)), tmp_path / "three.img")
    for name in ("four.mha", "five.nrrd", "six.mhd", "seven.nhdr"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOLUME.T), str(tmp_path / name))
    found = scans_at(tmp_path)
    assert [scan.name for scan in found.scans] == sorted(("one", "TWO", "three", "four", "five", "six", "seven"))
    assert found.notes == ()
    assert all(sorted(scan.read().array.shape) == [4, 5, 6] for scan in found.scans)
    for scan in found.scans:
        assert [one.name for one in scans_at(scan.path).scans] == [scan.name]
    assert scans_at(tmp_path / "three.img").scans[0].read().array.shape == (6, 5, 4)


def test_what_is_passed_over_is_named_and_counted(folder):
    save(folder / "below" / "deep.nii.gz", VOLUME)
    for name in (".DS_Store", "._a.nii"):
        (folder / name).write_bytes(bytes(200))
    for number in range(7):
        (folder / f"page{number}.pdf").write_bytes(b"%PDF")
    assert scans_at(folder).notes == (
        f"{folder} holds volumes in folders below, passed over: 1 (below/deep.nii.gz).",
        f"{folder} holds what is no volume, passed over: 8 "
        "(notes.txt, page0.pdf, page1.pdf, page2.pdf, page3.pdf and 3 more).",
    )


def test_series_in_nested_folders_are_named_by_them(tmp_path):
    for place, uid in (("P1/S1", "1.2.5"), ("P1/S2", "1.2.6"), ("P2/S1", "1.2.7")):
        write_series(tmp_path / place, VOLUME, np.eye(4), uid)
    assert [scan.name for scan in scans_at(tmp_path).scans] == ["P1-S1", "P1-S2", "P2-S1"]
