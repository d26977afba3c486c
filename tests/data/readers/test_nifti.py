# SPDX-License-Identifier: Apache-2.0
"""Every field of a NIfTI header is used as nibabel and SimpleITK use it, refused, mentioned, or without consequence."""

import gzip
import re
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from flap_sam.data.geometry import voxel_millilitres
from flap_sam.data.readers.nifti import read_nifti
from flap_sam.data.readers.nifti_header import WITHOUT_CONSEQUENCE
from flap_sam.data.readers.raw import TO_RAS
from flap_sam.data.readers.read import read
from flap_sam.data.volumes import read_volume
from flap_sam.errors import FlapSamError
from hypothesis import given
from hypothesis import strategies as st

from tests.data.volumes import save

SHAPE = (3, 4, 5)
SIZES = (0.75, 1.5, 3.0)
AFFINE = np.array([[-0.75, 0, 0, 40], [0, 1.5, 0, -50], [0, 0, 3.0, -20], [0, 0, 0, 1]])
KINDS = {1: nib.Nifti1Image, 2: nib.Nifti2Image}


def numbers(dtype=np.int16) -> np.ndarray:
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def rotation(axis, angle) -> np.ndarray:
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def write(path, image: nib.Nifti1Image, packed=False, **fields):
    """A file whose header fields are set to the byte, past what nibabel would allow."""
    content = bytearray(image.to_bytes())
    header = np.ndarray((), image.header.template_dtype.newbyteorder(image.header.endianness), buffer=content)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(gzip.compress(bytes(content), 1) if packed else bytes(content))
    return path


def plain(version=1, affine=AFFINE) -> nib.Nifti1Image:
    image = KINDS[version](numbers(), affine)
    image.header.set_xyzt_units("mm")
    return image


def same(raw, other) -> bool:
    return (
        np.array_equal(raw.array, other.array)
        and raw.array.dtype == other.array.dtype
        and np.array_equal(raw.affine, other.affine)
    )


@given(
    version=st.sampled_from([1, 2]),
    dtype=st.sampled_from(["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"]),
    endianness=st.sampled_from("<>"),
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    angle=st.floats(0, 3),
    mirrored=st.booleans(),
    qform=st.sampled_from([0, 1, 2, 3]),
    sform=st.sampled_from([0, 1, 2, 4]),
    unit=st.sampled_from([("unknown", 1.0), ("meter", 1000.0), ("mm", 1.0), ("micron", 0.001)]),
    scaling=st.sampled_from([(1, 0), (0, 0), (np.nan, np.nan), (2, -3), (0.5, 7), (-1, 0)]),
    extra=st.sampled_from([(), (1,), (1, 1)]),
    packed=st.booleans(),
)
def test_as_nibabel_and_simpleitk_read_it(
    tmp_path_factory, version, dtype, endianness, axis, angle, mirrored, qform, sform, unit, scaling, extra, packed
):
    affine = np.eye(4)
    affine[:3, :3] = rotation(axis, angle) @ np.diag((-SIZES[0] if mirrored else SIZES[0], *SIZES[1:]))
    affine[:3, 3] = 11, -7, 300
    array = numbers(np.dtype(dtype)).reshape(SHAPE + extra)
    header = KINDS[version].header_class(endianness=endianness)
    header.set_data_dtype(dtype)
    image = KINDS[version](array.astype(np.dtype(dtype).newbyteorder(endianness)), affine, header)
    image.set_qform(affine, qform)
    image.set_sform(affine, sform)
    image.header.set_xyzt_units(unit[0])
    path = tmp_path_factory.mktemp("nifti") / ("x.nii.gz" if packed else "x.nii")
    write(path, image, packed, scl_slope=scaling[0], scl_inter=scaling[1])

    raw, theirs = read_nifti(path), nib.load(path)
    np.testing.assert_allclose(raw.array, theirs.get_fdata().reshape(SHAPE), rtol=1e-6)
    expected = theirs.affine.copy()
    expected[:3] *= unit[1]
    np.testing.assert_allclose(raw.affine, expected, rtol=1e-12)
    if qform or sform:
        np.testing.assert_allclose(raw.affine[:3] / unit[1], affine[:3], atol=2e-4)
    if qform and version == 1 and not extra:
        itk, lps = SimpleITK.ReadImage(str(path)), np.eye(4)  # which converts the unit too
        lps[:3, :3] = np.reshape(itk.GetDirection(), (3, 3)) * itk.GetSpacing()
        lps[:3, 3] = itk.GetOrigin()
        np.testing.assert_allclose(raw.affine, TO_RAS @ lps, atol=2e-4 * unit[1])
    kept_whole = np.dtype(dtype).kind in "iu" and scaling in [(1, 0), (0, 0), (np.nan, np.nan)]
    assert raw.array.dtype == (np.dtype(dtype) if kept_whole else np.float32)
    said = " ".join(raw.notes)
    assert ("does not say how the patient lies" in said) == (not qform and not sform)
    assert ("converted to millimetres" in said) == (unit[0] in ("meter", "micron"))
    assert ("without scaling" in said) == (not np.isfinite(scaling[0]))


@pytest.mark.parametrize("version", KINDS)
@pytest.mark.parametrize("name", sorted(WITHOUT_CONSEQUENCE))
def test_fields_without_consequence(tmp_path, version, name):
    dtype = KINDS[version].header_class.template_dtype
    if name not in dtype.names:
        pytest.skip("a field of the other version")
    value = b"x" * dtype[name].itemsize if dtype[name].kind == "S" else 7
    before = read_nifti(write(tmp_path / "a.nii", plain(version)))
    after = read_nifti(write(tmp_path / "b.nii", plain(version), **{name: value}))
    assert same(before, after)
    assert before.notes == after.notes == ()


SAID = {
    "unit of length unknown": ({"xyzt_units": 5}, "unknown unit of length 5"),
    "micron": ({"xyzt_units": 3}, "in the unit micron; converted"),
    "time unit alone": ({"xyzt_units": 2 | 8}, None),
    "pixdim against sform": (
        {"pixdim": [1, 0.866, 0.866, 0.796, 0, 0, 0, 0]},
        "0.866 x 0.866 x 0.796 by pixdim; the sform",
    ),
    "pixdim against sform by 0.1 per mille": ({"pixdim": [1, 0.75005, 1.5, 3, 0, 0, 0, 0]}, None),
    "qform mirrors sform": (
        {"qform_code": 1, "pixdim": [1, *SIZES, 0, 0, 0, 0]},
        "apart, one of them mirrored; its sform is taken",
    ),
    "qform elsewhere": ({"qform_code": 1, "qoffset_x": 41}, "a corner 1.33 voxels apart; its sform is taken"),
    "qform is no rotation": ({"qform_code": 1, "quatern_b": 0.9, "quatern_c": 0.9}, "a qform that is no rotation"),
    "both codes 0": ({"sform_code": 0}, "does not say how the patient lies"),
    "unknown sform code": ({"sform_code": 17}, "unknown sform_code 17"),
    "intent vector": ({"intent_code": 1007}, r"intent 1007 \(vector\)"),
    "intent unknown": ({"intent_code": 77}, r"intent 77 \(unknown\)"),
    "intent label": ({"intent_code": 1002}, r"intent 1002 \(label\); its numbers are taken as intensities"),
    "bitpix": ({"bitpix": 8}, "8 bits a voxel by bitpix, but the datatype int16"),
    "slope 0 with intercept": ({"scl_slope": 0, "scl_inter": 5}, "scl_slope 0 and scl_inter 5; read without scaling"),
    "slope infinite": ({"scl_slope": np.inf}, "scl_slope inf"),
    "data right after the header": ({"vox_offset": 0}, None),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_mentioned(tmp_path, case):
    fields, words = SAID[case]
    volume = read_volume(write(tmp_path / "scan.nii", plain(), **fields))
    if words is None:
        assert volume.notes == ()
    else:
        (note,) = [note for note in volume.notes if "no scanner makes" not in note]
        assert note.startswith("scan.nii ")
        assert str(tmp_path) not in note
        assert re.search(words, note)


REFUSED = {
    "offset within the header": ({"vox_offset": 348}, "start at byte 348, expected a whole number from 352"),
    "offset broken": ({"vox_offset": 352.5}, "start at byte 352.5"),
    "offset NaN": ({"vox_offset": np.nan}, "start at byte nan"),
    "offset far away": ({"vox_offset": 1e12}, "start at byte 1e[+]12"),
    "offset behind the end": ({"vox_offset": 400}, "cannot be read as NIfTI"),
    "intercept NaN": ({"scl_inter": np.nan, "scl_slope": 2}, "scl_inter nan"),
    "quaternion": ({"sform_code": 0, "qform_code": 1, "quatern_b": 0.9, "quatern_c": 0.9}, "no rotation"),
    "qform factor": ({"sform_code": 0, "qform_code": 1, "pixdim": [5, *SIZES, 0, 0, 0, 0]}, "factor 5 in pixdim"),
    "voxels elsewhere": ({"magic": b"ni1"}, "its voxels lie in another file"),
    "no magic": ({"magic": b"xyz"}, "does not start as one"),
    "length of the header": ({"sizeof_hdr": 347}, "347 bytes long, expected 348"),
    "several volumes": ({"dim": [4, 3, 4, 5, 2, 1, 1, 1]}, "it holds 2 volumes"),
    "no third axis": ({"dim": [2, 3, 4, 5, 1, 1, 1, 1]}, "expected one 3D volume"),
    "axis of length 0": ({"dim": [3, 3, 0, 5, 1, 1, 1, 1]}, "it holds no volume"),
    "more voxels than there are": ({"dim": [3, 300, 400, 500, 1, 1, 1, 1]}, "it can hold .* at most"),
    "too many voxels": ({"dim": [3, 2000, 2000, 2000, 1, 1, 1, 1]}, "declares 8000000000 voxels, expected at most"),
    "complex": ({"datatype": 32}, "expected one real number each"),
    "unknown type": ({"datatype": 77}, "cannot be read as NIfTI"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path, case):
    fields, words = REFUSED[case]
    with pytest.raises(FlapSamError, match=rf"scan\.nii .*{words}") as caught:
        read_volume(write(tmp_path / "scan.nii", plain(), **fields))
    assert "\n" not in str(caught.value)


def test_an_intent_of_labels_is_right_for_a_label_map(tmp_path):
    path = write(tmp_path / "label.nii", plain(), intent_code=1002)
    assert read_nifti(path, label=True).notes == ()
    assert "taken as labels" in read_nifti(write(path, plain(), intent_code=1007), label=True).notes[0]


@pytest.mark.parametrize("ending", [".hdr", ".img"])
def test_header_and_voxels_in_two_files(tmp_path, ending):
    nib.save(nib.Nifti1Pair(numbers(), AFFINE), tmp_path / "scan.hdr")
    assert same(read(tmp_path / f"scan{ending}"), read_nifti(write(tmp_path / "one.nii", plain())))
    (tmp_path / "scan.img").unlink()
    with pytest.raises(FlapSamError, match=r"scan\.hdr has no scan\.img beside it"):
        read_nifti(tmp_path / "scan.hdr")


@pytest.mark.parametrize("size", [(0.0015, 0.0015, 0.003), (1500, 1500, 3000)])
def test_voxels_that_no_scanner_makes_are_mentioned(tmp_path, size):
    volume = read_volume(save(tmp_path / "scan.nii", numbers(), np.diag((*size, 1))))
    assert "which no scanner makes" in volume.notes[0]


def test_a_sheared_sform_is_mentioned_and_its_millilitres_are_right(tmp_path):
    affine = AFFINE.copy()
    affine[1, 2] = 3 * np.tan(np.radians(12))
    volume = read_volume(write(tmp_path / "scan.nii", plain(affine=affine)))
    assert "12.0 degrees off a right angle" in volume.notes[0]
    assert voxel_millilitres(volume.affine) == pytest.approx(0.75 * 1.5 * 3 / 1000)


def peak(function) -> tuple[str, int]:
    """What it is refused with, and how many bytes it held at most."""
    tracemalloc.start()
    try:
        with pytest.raises(FlapSamError) as caught:
            function()
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_file_that_unpacks_to_more_than_declared_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(plain().to_bytes() + bytes(2**28), 1))
    said, most = peak(lambda: read_nifti(path))
    assert "unpacks to more than its header declares" in said
    assert most < 2**24


@pytest.mark.parametrize(
    ("shape", "words"), [((1500, 1500, 1500), "expected at most"), ((900, 900, 900), "it can hold")]
)
def test_a_small_file_that_declares_much_is_not_unpacked(tmp_path, shape, words):
    path = write(tmp_path / "bomb.nii.gz", plain(), packed=True, dim=[3, *shape, 1, 1, 1, 1])
    said, most = peak(lambda: read_nifti(path))
    assert words in said
    assert most < 2**24


def test_analyze_is_refused_by_name(tmp_path):
    nib.save(nib.AnalyzeImage(numbers(), AFFINE), tmp_path / "old.img")
    with pytest.raises(FlapSamError, match=r"old\.hdr is ANALYZE 7\.5, which does not say how the patient lies"):
        read(tmp_path / "old.hdr")
