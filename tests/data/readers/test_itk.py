# SPDX-License-Identifier: Apache-2.0
"""MetaImage and NRRD files give what NIfTI files of the same volume give, and their headers are distrusted alike."""

import gzip
import re
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from flap_sam.data.readers.itk import read_itk
from flap_sam.data.readers.raw import TO_RAS
from flap_sam.data.readers.read import read
from flap_sam.errors import FlapSamError
from hypothesis import given
from hypothesis import strategies as st

from tests.data.readers.test_nifti import peak, rotation

SHAPE = (3, 4, 5)
SIZES = np.array((0.75, 1.5, 3.0))
ENDINGS = (".mha", ".mhd", ".nrrd", ".nhdr", ".MHA", ".Nrrd")
MHA = {
    "NDims": "3",
    "BinaryData": "True",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "-20 -30 5",
    "CenterOfRotation": "0 0 0",
    "AnatomicalOrientation": "RAI",
    "ElementSpacing": "0.75 1.5 3",
    "DimSize": "3 4 5",
    "ElementType": "MET_SHORT",
}
NRRD = {
    "type": "short",
    "dimension": "3",
    "sizes": "3 4 5",
    "encoding": "raw",
    "endian": "little",
    "space": "left-posterior-superior",
    "space directions": "(0.75,0,0) (0,1.5,0) (0,0,3)",
    "space origin": "(-20,-30,5)",
}
AFFINE = TO_RAS @ np.array([[0.75, 0, 0, -20], [0, 1.5, 0, -30], [0, 0, 3, 5], [0, 0, 0, 1]])


def numbers(dtype=np.int16) -> np.ndarray:
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def voxels() -> bytes:
    return numbers().astype("<i2").tobytes(order="F")


def mha(path, data=None, **fields):
    said = {name: value for name, value in {**MHA, **fields}.items() if value is not None}
    header = "".join(f"{name} = {value}\n" for name, value in {**said, "ElementDataFile": "LOCAL"}.items())
    path.write_bytes(header.encode() + (voxels() if data is None else data))
    return path


def nrrd(path, data=None, **fields):
    said = {**NRRD, **{name.replace("_", " "): value for name, value in fields.items()}}
    header = "".join(f"{name}: {value}\n" for name, value in said.items() if value is not None)
    path.write_bytes(f"NRRD0005\n{header}\n".encode() + (voxels() if data is None else data))
    return path


@given(
    ending=st.sampled_from(ENDINGS),
    dtype=st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]),
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    angle=st.floats(0, 3),
    packed=st.booleans(),
    extra=st.booleans(),
)
def test_as_the_nifti_of_the_same_volume(tmp_path_factory, ending, dtype, axis, angle, packed, extra):
    folder, array = tmp_path_factory.mktemp("itk"), numbers(dtype)
    lps = np.eye(4)
    lps[:3, :3] = rotation(axis, angle) * SIZES
    lps[:3, 3] = 11, -7, 300
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(SIZES.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(rotation(axis, angle).ravel().tolist())
    if extra:
        image = SimpleITK.JoinSeries(image)
    writer = SimpleITK.ImageFileWriter()
    writer.SetUseCompression(packed)
    writer.SetImageIO("NrrdImageIO" if "n" in ending.lower() else "MetaImageIO")
    writer.SetFileName(str(folder / f"scan{ending.lower()}"))
    writer.Execute(image)
    (folder / f"scan{ending.lower()}").rename(folder / f"scan{ending}")
    nib.save(nib.Nifti1Image(array, TO_RAS @ lps), folder / "scan.nii")

    volume, expected = read(folder / f"scan{ending}"), read(folder / "scan.nii")
    np.testing.assert_array_equal(volume.array, expected.array)
    assert volume.array.dtype == expected.array.dtype
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-4)
    said = () if ending.lower() in (".mha", ".mhd") or not extra else ("it has no space",)  # of four axes
    assert len(volume.notes) == len(said)
    assert all(words in note for words, note in zip(said, volume.notes, strict=True))


def test_the_written_headers_are_read_as_they_say(tmp_path):
    for path in (mha(tmp_path / "scan.mha"), nrrd(tmp_path / "scan.nrrd")):
        raw = read_itk(path)
        np.testing.assert_array_equal(raw.array, numbers())
        np.testing.assert_allclose(raw.affine, AFFINE)
        assert raw.notes == ()


SPACES = {
    "RAS": (1, 1, 1),
    "LAS": (-1, 1, 1),
    "LPS": (-1, -1, 1),
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
}


@pytest.mark.parametrize("space", SPACES)
def test_spaces_of_nrrd(tmp_path, space):
    raw = read_itk(nrrd(tmp_path / "scan.nrrd", space=space))
    np.testing.assert_allclose(raw.affine, np.diag((*SPACES[space], 1)) @ np.abs(TO_RAS) @ TO_RAS @ AFFINE)
    assert raw.notes == ()


UNITS = {"um": 0.001, "micron": 0.001, "microns": 0.001, "mm": 1, "millimeter": 1, "cm": 10, "m": 1000}


@pytest.mark.parametrize("unit", UNITS)
def test_units_of_length(tmp_path, unit):
    for path in (
        mha(tmp_path / "scan.mha", DistanceUnits=unit),
        nrrd(tmp_path / "scan.nrrd", space_units=f'"{unit}" "{unit}" "{unit}"'),
    ):
        raw = read_itk(path)
        np.testing.assert_allclose(raw.affine[:3], AFFINE[:3] * UNITS[unit])
        assert any("converted to millimetres" in note for note in raw.notes) == (UNITS[unit] != 1)


def test_values_by_slope_and_offset(tmp_path):
    fields = {"ElementToIntensityFunctionSlope": "0.5", "ElementToIntensityFunctionOffset": "-10"}
    np.testing.assert_allclose(read_itk(mha(tmp_path / "scan.mha", **fields)).array, numbers() * 0.5 - 10)


SAID = {
    "no spacing": (mha, {"ElementSpacing": None}, "1 mm is taken"),
    "size, no spacing": (mha, {"ElementSpacing": None, "ElementSize": "2 2 2"}, "ElementSize is taken"),
    "size against spacing": (mha, {"ElementSize": "1 1 1"}, "the latter is taken"),
    "no direction": (mha, {"TransformMatrix": None}, "does not say how the patient lies"),
    "letters against direction": (mha, {"AnatomicalOrientation": "LPS"}, "LPS, but its TransformMatrix is RAI"),
    "centre of rotation": (mha, {"CenterOfRotation": "1 0 0"}, "CenterOfRotation other than 0"),
    "unknown field": (mha, {"Voxels": "sheared"}, "not known here and passed over: Voxels"),
    "unknown unit": (mha, {"DistanceUnits": "furlong"}, "unknown unit of length 'furlong'"),
    "no space": (
        nrrd,
        {"space": None, "space_directions": None, "space_origin": None, "spacings": "1 2 3"},
        "no space",
    ),
    "scanner's space": (nrrd, {"space": "scanner-xyz"}, "its space is scanner-xyz"),
    "no distances": (
        nrrd,
        {"space": None, "space_directions": None, "space_origin": None},
        "does not say how far its voxels lie apart",
    ),
    "corners": (nrrd, {"centerings": "node node node"}, "samples at the corners"),
    "rounded": (nrrd, {"old_min": "0", "old_max": "1"}, "rounded from others"),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_mentioned(tmp_path, case):
    write, fields, words = SAID[case]
    notes = read_itk(write(tmp_path / f"scan.{write.__name__}", **fields)).notes
    assert any(re.search(words, note) for note in notes)
    assert all(note.startswith("scan.") for note in notes)


REFUSED = {
    "empty": (mha, {"data": b""}, "cannot be read as MetaImage"),
    "truncated": (mha, {"data": voxels()[:-9]}, "cannot be read as MetaImage"),
    "truncated NRRD": (nrrd, {"data": voxels()[:-9]}, "cannot be read as NRRD"),
    "packed, truncated": (mha, {"CompressedData": "True", "data": zlib.compress(voxels())[:-5]}, "it ends after"),
    "gzip, truncated": (nrrd, {"encoding": "gzip", "data": gzip.compress(voxels())[:-9]}, "cannot be read as NRRD"),
    "gzip, flipped": (
        nrrd,
        {"encoding": "gzip", "data": gzip.compress(voxels())[:-8] + b"abcd" + gzip.compress(voxels())[-4:]},
        "cannot be read as NRRD",
    ),
    "colours": (mha, {"ElementNumberOfChannels": "3", "data": voxels() * 3}, "one real number each"),
    "two axes": (
        mha,
        {"NDims": "2", "DimSize": "3 20", "TransformMatrix": "1 0 0 1", "Offset": "0 0"},
        "expected one 3D",
    ),
    "several volumes": (
        nrrd,
        {
            "dimension": "4",
            "sizes": "3 4 5 2",
            "space": None,
            "space_directions": None,
            "space_origin": None,
            "data": voxels() * 2,
        },
        "it holds 2 volumes",
    ),
    "mixed units": (nrrd, {"space_units": '"mm" "mm" "um"'}, "units mm, um, expected one"),
    "slope": (mha, {"ElementToIntensityFunctionSlope": "steep"}, "expected one number"),
    "NaN": (mha, {"ElementType": "MET_FLOAT", "data": np.full(60, np.nan, "<f4").tobytes()}, "not finite"),
    "too many voxels": (mha, {"DimSize": "2000 2000 2000"}, "declares 8000000000 voxels"),
    "too many voxels in NRRD": (nrrd, {"sizes": "2000 2000 2000"}, "declares 8000000000 voxels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path, case, capfd):
    write, fields, words = REFUSED[case]
    with pytest.raises(FlapSamError, match=words) as caught:
        read_itk(write(tmp_path / f"scan.{write.__name__}", **fields))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("write", [mha, nrrd])
def test_a_file_that_unpacks_to_more_than_declared_is_not_unpacked(tmp_path, write):
    data = voxels() + bytes(2**28)
    fields = (
        {"CompressedData": "True", "data": zlib.compress(data, 1)}
        if write is mha
        else {"encoding": "gzip", "data": gzip.compress(data, 1)}
    )
    path = write(tmp_path / f"bomb.{write.__name__}", **fields)
    said, most = peak(lambda: read_itk(path))
    assert "unpacks to more than its header declares" in said
    assert most < 2**24


def test_other_files_under_these_names(tmp_path):
    for name in ("x.mha", "x.nrrd"):
        (tmp_path / name).write_bytes(b"\x89PNG" + bytes(500))
        with pytest.raises(FlapSamError, match="does not start as one"):
            read_itk(tmp_path / name)
        with pytest.raises(FlapSamError, match="cannot be opened"):
            read_itk(tmp_path / f"no{name}")
