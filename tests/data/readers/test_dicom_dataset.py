# SPDX-License-Identifier: Apache-2.0
"""One file: whether it is DICOM, in which encoding, and how far it may be unpacked."""

import warnings

import numpy as np
import pydicom
import pytest
from flap_sam.data.readers.dicom_dataset import UNTOLD, has_preamble, is_dicom, quiet, read_dataset
from flap_sam.errors import FlapSamError
from pydicom.dataset import Dataset

from tests.data import dicom_objects as objects
from tests.data.dicom_objects import save

GROUP_8, GROUP_8_LENGTH, GROUP_16 = b"\x08\x00\x08\x00CS", b"\x08\x00\x00\x00UL\x04\x00", b"\x10\x00\x10\x00PN"
STARTS = {
    "with a preamble": (bytes(128) + b"DICM", True, True),
    "with a preamble of text": (b"x" * 128 + b"DICM\x02\x00", True, True),
    "the magic word too early": (bytes(127) + b"DICM", False, False),
    "without a preamble": (b"\x08\x00\x08\x00CS", True, False),
    "meta information alone": (b"\x02\x00\x00\x00UL\x04\x00", True, False),
    "numbers": (b"\x08\x00\x05\x01" + bytes(200), False, False),
    "a group's length, implicitly": (b"\x08\x00\x00\x00\x04\x00\x00\x00", True, False),
    "zeros behind the group": (b"\x08\x00\x00\x00" + bytes(200), False, False),
    "text": (b"DICM", False, False),
    "nothing": (b"", False, False),
}


@pytest.mark.parametrize("start", STARTS)
def test_a_file_is_told_by_how_it_starts(tmp_path, start):
    content, dicom, preamble = STARTS[start]
    (tmp_path / "x").write_bytes(content)
    assert (is_dicom(tmp_path / "x"), has_preamble(tmp_path / "x")) == (dicom, preamble)


@pytest.mark.parametrize(("implicit", "little_endian"), UNTOLD)
def test_an_old_file_without_meta_information_gets_the_encoding_that_it_is_in(tmp_path, implicit, little_endian):
    made = Dataset()
    made.Modality, made.Rows = "CT", 259  # not the same backwards
    path = tmp_path / "old"
    made.save_as(path, implicit_vr=implicit, little_endian=little_endian)
    found = read_dataset(path)
    assert (found.Modality, found.Rows) == ("CT", 259)
    assert found.file_meta.TransferSyntaxUID == UNTOLD[implicit, little_endian]
    syntax = pydicom.uid.UID(UNTOLD[implicit, little_endian])
    assert (syntax.is_implicit_VR, syntax.is_little_endian) == (implicit, little_endian)


@pytest.mark.parametrize("with_meta", [True, False])
@pytest.mark.parametrize("with_length", [True, False])
def test_a_slice_without_a_preamble_is_one_whatever_element_it_starts_with(tmp_path, with_meta, with_length):
    """Old files begin with the length of their first group, be it that of the meta information or not."""
    made = objects.slice_of(np.arange(20).reshape(4, 5), 0)
    path = save(made, tmp_path / "slice")
    content = path.read_bytes()
    meta, elements = content[132 : content.index(GROUP_8)], content[content.index(GROUP_8) :]
    length = GROUP_8_LENGTH + elements.index(GROUP_16).to_bytes(4, "little") if with_length else b""
    path.write_bytes(meta * with_meta + length + elements)
    assert is_dicom(path)
    np.testing.assert_array_equal(read_dataset(path).pixel_array, np.arange(20).reshape(4, 5))


def test_options_are_pydicoms(tmp_path):
    path = save(objects.slice_of(np.zeros((4, 5)), 0), tmp_path / "slice.dcm")
    found = read_dataset(path, stop_before_pixels=True, specific_tags=["Rows"])
    assert "Rows" in found
    assert "PixelData" not in found
    assert "Columns" not in found


def test_only_inside_is_it_quiet():
    with quiet():
        warnings.warn("of pydicom", UserWarning, stacklevel=1)
    with pytest.raises(UserWarning, match="of ours"):
        warnings.warn("of ours", UserWarning, stacklevel=1)


def test_a_deflated_file_has_a_limit_before_it_is_unpacked(tmp_path, monkeypatch):
    made = objects.slice_of(np.zeros((2048, 2048)), 0)
    made.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    save(made, tmp_path / "slice.dcm")
    monkeypatch.setattr("flap_sam.data.readers.dicom_dataset.LONGEST", 2**22)
    with pytest.raises(FlapSamError, match="unpacks to more than 4194304 bytes"):
        read_dataset(tmp_path / "slice.dcm")


def test_a_deflated_file_within_the_limit_is_read(tmp_path):
    made = objects.slice_of(np.arange(20).reshape(4, 5), 0)
    made.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    found = read_dataset(save(made, tmp_path / "slice.dcm"))
    np.testing.assert_array_equal(found.pixel_array, np.arange(20).reshape(4, 5))
