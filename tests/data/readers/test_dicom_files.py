# SPDX-License-Identifier: Apache-2.0
"""Series are found among what lies on a CD, and what is no slice is passed over by name."""

import numpy as np
import pytest
from flap_sam.data.readers.dicom import read_series
from flap_sam.data.readers.dicom_files import INDEX, series_below
from flap_sam.data.readers.read import read
from flap_sam.errors import FlapSamError

from tests.data import dicom_objects as objects
from tests.data.dicom_objects import dataset, enhanced, save, series, slice_of

STORED = np.arange(6 * 4 * 5).reshape(6, 4, 5)
HEIGHTS = np.arange(6) * 3.0


@pytest.fixture
def ct(tmp_path):
    return series(tmp_path / "ct", STORED, HEIGHTS)


def localizer():
    made = slice_of(STORED[0], 500)
    made.ImageType, made.ImageOrientationPatient = ["ORIGINAL", "PRIMARY", "LOCALIZER"], [0, 1, 0, 0, 0, -1]
    return made


def dose():
    made = enhanced(STORED, HEIGHTS)
    made.SOPClassUID, made.ImagePositionPatient, made.Modality = objects.RTDOSE, [0, 0, 0], "RTDOSE"
    return made


def segmentation():
    made = enhanced(STORED, HEIGHTS)
    made.SOPClassUID, made.Modality = objects.SEG, "SEG"
    return made


def screenshot():
    made = slice_of(STORED[0], 0)
    made.SOPClassUID = objects.SECONDARY
    del made.ImagePositionPatient
    return made


BESIDE = {
    "Segmentation Storage": segmentation,
    "RT Dose Storage": dose,
    "Basic Text SR Storage": lambda: dataset("1.2.840.10008.5.1.4.1.1.88.11"),
    "Secondary Capture Image Storage": screenshot,
    "localizer": localizer,
}


@pytest.mark.parametrize("own_series", [True, False])
@pytest.mark.parametrize("kind", BESIDE)
def test_what_is_no_slice_is_passed_over_by_name(ct, kind, own_series):
    alone = read(ct)
    made = BESIDE[kind]()
    made.SeriesInstanceUID = "1.2.77" if own_series else "1.2.3"
    save(made, ct / "beside")
    raw = read(ct)
    np.testing.assert_array_equal(raw.array, alone.array)
    np.testing.assert_array_equal(raw.affine, alone.affine)
    assert raw.notes == (f"ct holds DICOM files that are no slices of a scan, passed over: {kind}, 1 (beside).",)


@pytest.mark.parametrize("kind", BESIDE)
def test_where_there_is_nothing_else_it_is_named(tmp_path, kind):
    save(BESIDE[kind](), tmp_path / "it")
    with pytest.raises(FlapSamError, match=rf"holds no DICOM series of slices, .*{kind}, 1 \(it\)"):
        read(tmp_path)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_series_lies_in_nested_folders(tmp_path, depth):
    """A slice a folder, as some archives export them."""
    expected = read(series(tmp_path / "plain", STORED, HEIGHTS))
    for number, height in enumerate(HEIGHTS):
        folder = tmp_path.joinpath("cd", *(f"{level}{number}" for level in range(depth)))
        save(slice_of(STORED[number], height, number), folder / "IM")
    raw = read(tmp_path / "cd")
    np.testing.assert_array_equal(raw.array, expected.array)
    np.testing.assert_array_equal(raw.affine, expected.affine)
    (found,) = series_below(tmp_path / "cd").series
    assert found.folder == tmp_path / "cd"


def test_a_cd_with_its_index(tmp_path):
    for number, height in enumerate(HEIGHTS):
        save(slice_of(STORED[number], height, number), tmp_path / "cd" / "PT000000" / "SE000000" / f"IM{number:06}")
    index = dataset(INDEX)
    index.FileSetID, index.DirectoryRecordSequence = "CD", []
    save(index, tmp_path / "cd" / "DICOMDIR")
    (tmp_path / "cd" / "AUTORUN.INF").write_text("viewer")
    raw = read(tmp_path / "cd")
    np.testing.assert_array_equal(raw.array.T, STORED - 1024)
    index, other = raw.notes
    assert index.endswith("passed over: Media Storage Directory Storage, 1 (DICOMDIR).")
    assert other == "cd holds what is no DICOM file, passed over: 1 (AUTORUN.INF)."


def test_folders_of_one_series_with_other_phases_or_copies_stay_apart(tmp_path):
    for folder in "ab":
        series(tmp_path / folder, STORED, HEIGHTS)
    assert [found.folder.name for found in series_below(tmp_path).series] == ["a", "b"]
    with pytest.raises(FlapSamError, match="holds 2 DICOM series of slices, expected one"):
        read(tmp_path)


def test_series_are_told_apart_in_one_folder(tmp_path):
    series(tmp_path, STORED, HEIGHTS)
    for number, height in enumerate(HEIGHTS[:4]):
        save(slice_of(STORED[number], height, series="1.2.4"), tmp_path / f"b{number}")
    assert [len(found.files) for found in series_below(tmp_path).series] == [6, 4]


def test_files_that_are_copies_to_the_byte_are_passed_over_by_name(ct):
    alone = read(ct)
    (ct / "copy.dcm").write_bytes((ct / "002.dcm").read_bytes())
    raw = read(ct)
    np.testing.assert_array_equal(raw.array, alone.array)
    assert raw.notes == ("ct holds slices twice, passed over: 1 (copy.dcm).",)


def test_what_begins_with_a_dot_is_passed_over(ct):
    (ct / "._000.dcm").write_bytes((ct / "000.dcm").read_bytes())
    (ct / ".trash").mkdir()
    (ct / ".trash" / "x.dcm").write_bytes((ct / "000.dcm").read_bytes())
    assert read(ct).notes == ()


@pytest.mark.parametrize("kept", [140, 300, 500])
@pytest.mark.parametrize("which", [0, 3, 5])
def test_a_damaged_slice_is_an_error_even_at_the_end(ct, which, kept):
    """Were it passed over, the volume would be short of a slice."""
    path = ct / f"{which:03}.dcm"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FlapSamError, match=rf"{which:03}\.dcm"):
        read(ct)


def test_a_damaged_file_alone_is_named(tmp_path):
    (tmp_path / "x").write_bytes(bytes(128) + b"DICM" + bytes(7))
    with pytest.raises(FlapSamError, match=r"damaged, 1 \(x\)"):
        read(tmp_path)


def test_slices_without_a_preamble(tmp_path):
    series(tmp_path / "ct", STORED, HEIGHTS)
    expected = read(tmp_path / "ct")
    for path in (tmp_path / "ct").iterdir():
        content = path.read_bytes()
        path.write_bytes(content[content.index(b"\x08\x00\x08\x00CS") :])
    raw = read(tmp_path / "ct")
    np.testing.assert_array_equal(raw.array, expected.array)


def test_a_loop_of_links_ends(ct):
    (ct / "loop").symlink_to(ct)
    assert len(series_below(ct).series[0].files) == 6


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.99"])
def test_packed_slices(tmp_path, syntax):
    """Run lengths, and a deflated file; pydicom makes them."""
    stored = np.tile(np.arange(8), (2, 8, 1))
    series(tmp_path / "ct", stored, [0, 3])
    expected = read(tmp_path / "ct")
    for number in range(2):
        made = slice_of(stored[number], 3 * number, number)
        if syntax.endswith("5"):
            made.compress(syntax)
        else:
            made.file_meta.TransferSyntaxUID = syntax
        save(made, tmp_path / "packed" / f"{number}.dcm")
    raw = read_series(sorted((tmp_path / "packed").iterdir()))
    np.testing.assert_array_equal(raw.array, expected.array)


@pytest.mark.parametrize("kind", BESIDE)
def test_pointed_to_by_itself_it_is_refused_by_name(tmp_path, kind):
    path = save(BESIDE[kind](), tmp_path / "it.dcm")
    with pytest.raises(FlapSamError, match=rf"it\.dcm is no slice of a scan, but: {kind}"):
        read(path)


def test_what_merely_looks_like_dicom_is_another_file(ct):
    (ct / "counts.bin").write_bytes(b"\x08\x00\x05\x00" + bytes(300))
    assert read(ct).notes == ("ct holds what is no DICOM file, passed over: 1 (counts.bin).",)
