# SPDX-License-Identifier: Apache-2.0
"""The headers of MetaImage and NRRD alone: where the voxels start, in which unit, and how the patient lies."""

import io
import itertools

import numpy as np
import pytest
from flap_sam.data.readers.itk_header import OTHER, PACKED, RAW, UNITS, meta_header, nrrd_header
from flap_sam.errors import FlapSamError

from tests.data.readers.test_itk import MHA, NRRD

VOXELS = b"voxels"
FROM = {  # MetaImage's letter says from which side of the patient an axis comes; ITK's axes run left, back and up
    **{"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0)},
    **{"P": (0, -1, 0), "I": (0, 0, 1), "S": (0, 0, -1)},
}
CODES = ["".join(axes) for order in itertools.permutations(("RL", "AP", "IS")) for axes in itertools.product(*order)]


def meta_text(end="\n", data="LOCAL", **fields) -> bytes:
    said = {**MHA, **fields, "ElementDataFile": data}
    return "".join(f"{name} = {value}{end}" for name, value in said.items()).encode()


def nrrd_text(end="\n", **fields) -> bytes:
    said = {**NRRD, **{name.replace("_", " "): value for name, value in fields.items()}}
    return end.join(["NRRD0005", "# made", *(f"{n}: {v}" for n, v in said.items()), "key:=value", "", ""]).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("read", "text"), [(meta_header, meta_text), (nrrd_header, nrrd_text)])
def test_the_voxels_start_where_the_header_ends(tmp_path, read, text, end):
    path, content = tmp_path / "scan", text(end) + VOXELS
    path.write_bytes(content)
    found = read(path, io.BytesIO(content))
    assert content[found.start :] == VOXELS
    assert (found.data, found.packing, found.notes) == (path, RAW, ())
    assert (found.millimetres, found.slope, found.inter) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("there", [True, False])
def test_voxels_in_a_file_of_their_own_start_at_its_beginning_and_several_files_are_left_to_itk(tmp_path, there):
    if there:
        (tmp_path / "scan.raw").write_bytes(VOXELS)
    for found in (
        meta_header(tmp_path / "scan.mhd", io.BytesIO(meta_text(data="scan.raw"))),
        nrrd_header(tmp_path / "scan.nhdr", io.BytesIO(nrrd_text(data_file="scan.raw"))),
    ):
        assert (found.data, found.start) == (tmp_path / "scan.raw", 0)
        assert found.packing == (RAW if there else OTHER)


def test_packing_is_told(tmp_path):
    path = tmp_path / "scan"
    path.touch()
    packed = [
        meta_header(path, io.BytesIO(meta_text(CompressedData="True"))),
        nrrd_header(path, io.BytesIO(nrrd_text(encoding="gzip"))),
    ]
    assert [found.packing for found in packed] == [PACKED, PACKED]
    text = [
        meta_header(path, io.BytesIO(meta_text(BinaryData="False"))),
        nrrd_header(path, io.BytesIO(nrrd_text(encoding="ascii"))),
    ]
    assert [found.packing for found in text] == [OTHER, OTHER]


@pytest.mark.parametrize("code", CODES)
def test_letters_that_agree_with_the_matrix_need_no_word_and_others_get_one(tmp_path, code):
    matrix = " ".join(str(number) for letter in code for number in FROM[letter])
    header = meta_header(tmp_path, io.BytesIO(meta_text(TransformMatrix=matrix, AnatomicalOrientation=code)))
    assert header.notes == ()
    other = CODES[CODES.index(code) - 1]
    header = meta_header(tmp_path, io.BytesIO(meta_text(TransformMatrix=matrix, AnatomicalOrientation=other)))
    (note,) = header.notes
    assert note == f"has the AnatomicalOrientation {other}, but its TransformMatrix is {code}; the latter is taken."


def test_between_the_axes_letters_are_no_contradiction(tmp_path):
    half = np.sqrt(0.5)
    matrix = f"{half} {half} 0 {-half} {half} 0 0 0 1"
    for letters in ("RAI", "ALI"):
        found = meta_header(tmp_path, io.BytesIO(meta_text(TransformMatrix=matrix, AnatomicalOrientation=letters)))
        assert found.notes == ()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("written", [str, str.upper, lambda unit: f" {unit} "])
def test_a_unit_is_one_however_it_is_written(tmp_path, unit, written):
    assert meta_header(tmp_path, io.BytesIO(meta_text(DistanceUnits=written(unit)))).millimetres == UNITS[unit]


@pytest.mark.parametrize("value", ["nan", "inf", "1 2", "", "one"])
def test_a_slope_that_is_no_number_is_refused(tmp_path, value):
    with pytest.raises(FlapSamError, match=r"ElementToIntensityFunctionSlope .*expected one number"):
        meta_header(tmp_path, io.BytesIO(meta_text(ElementToIntensityFunctionSlope=value)))


@pytest.mark.parametrize("read", [meta_header, nrrd_header])
@pytest.mark.parametrize(("content", "words"), [(b"", "it is empty"), (b"PNG" * 99, "does not start as one")])
def test_what_is_no_header_is_told(tmp_path, read, content, words):
    with pytest.raises(ValueError, match=words):
        read(tmp_path, io.BytesIO(content))
