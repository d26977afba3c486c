import numpy as np
import pytest
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
