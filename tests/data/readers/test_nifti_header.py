# SPDX-License-Identifier: Apache-2.0
"""A header alone, without any voxel."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from flap_sam.data.readers.nifti_header import HEADER_BYTES, WITHOUT_CONSEQUENCE, parse
from flap_sam.errors import FlapSamError
from hypothesis import given
from hypothesis import strategies as st

KINDS = {1: nib.Nifti1Image, 2: nib.Nifti2Image}
MEANINGFUL = {
    *("sizeof_hdr", "magic", "dim", "datatype", "bitpix", "pixdim", "vox_offset", "scl_slope", "scl_inter"),
    *("xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "intent_code"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
}


@pytest.mark.parametrize("version", KINDS)
def test_every_field_has_its_place(version):
    names = set(KINDS[version].header_class.template_dtype.names)
    assert names <= MEANINGFUL | WITHOUT_CONSEQUENCE
    assert not MEANINGFUL & WITHOUT_CONSEQUENCE


def start(version, shape=(3, 4, 5), dtype="<i2", **fields) -> bytes:
    header = KINDS[version].header_class(endianness=dtype[0])
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["magic"] = b"n+1" if version == 1 else b"n+2"
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock.ljust(HEADER_BYTES, b"\0")


@given(
    version=st.sampled_from([1, 2]),
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    dtype=st.sampled_from(["<u1", "<i2", ">i2", ">u4", "<f4", ">f8"]),
    extra=st.sampled_from([(), (1,), (1, 1)]),
    scaling=st.tuples(st.sampled_from([1.0, -2.0, 0.5]), st.sampled_from([0.0, 7.0, -1024.0])),
    offset=st.sampled_from([0, 352, 544, 1024]),
)
def test_it_says_what_was_set(version, shape, dtype, extra, scaling, offset):
    lowest = {1: 352, 2: 544}[version]
    content = start(version, shape + extra, dtype, scl_slope=scaling[0], scl_inter=scaling[1], vox_offset=offset)
    if 0 < offset < lowest:
        with pytest.raises(FlapSamError, match=f"start at byte {offset}, expected a whole number from {lowest}"):
            parse(Path("x.nii"), content, label=False)
        return
    found = parse(Path("x.nii"), content, label=False)
    assert (found.shape, found.dtype, found.offset) == (shape, np.dtype(dtype), offset or lowest)
    assert (found.slope, found.inter) == scaling


@pytest.mark.parametrize("version", KINDS)
@pytest.mark.parametrize(("name", "magic", "offset"), [("x.hdr", b"ni", 0), ("x.nii", b"n+", None)])
def test_voxels_of_a_pair_start_at_their_files_beginning(version, name, magic, offset):
    lowest = {1: 352, 2: 544}[version]
    found = parse(Path(name), start(version, magic=magic + str(version).encode()), label=False)
    assert found.offset == (lowest if offset is None else offset)


@pytest.mark.parametrize("kept", [0, 4, 347])
def test_a_start_that_is_too_short_is_no_header(kept):
    with pytest.raises(ValueError, match="it is empty" if kept == 0 else "does not start as one"):
        parse(Path("x.nii"), start(1)[:kept], label=False)


def test_notes_begin_with_the_name_and_name_no_folder():
    found = parse(Path("/Doe_Jane/x.nii"), start(1, bitpix=8, intent_code=1007), label=True)
    assert found.notes
    assert all(note.startswith("x.nii ") for note in found.notes)
