# SPDX-License-Identifier: Apache-2.0
"""The header of a NIfTI file: every field is used, refused, mentioned, or listed here as without consequence.

Source: the NIfTI-1.1 and NIfTI-2 standards (nifti.nimh.nih.gov); where these leave a choice, nibabel's.
"""

from __future__ import annotations  # nibabel is imported when the first header is read, not for its names here

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from flap_sam.data.readers.raw import check_shape, farthest, size
from flap_sam.errors import FlapSamError

HEADER_BYTES = 540  # of NIfTI-2, the longer one
ANALYZE = ((348).to_bytes(4, "little"), (348).to_bytes(4, "big"))  # how its headers start
UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # millimetres by the code of xyzt_units; 0, unknown, is read as mm
UNIT_NAMES = {1: "metre", 3: "micron"}
SPATIAL, FARTHEST = 0b111, 2**26
KNOWN_CODES = range(6)  # of qform_code and sform_code
LABEL = 1002  # intent code
TOLERANCE = 1e-3  # of voxel sizes, relative
APART = 0.1  # voxels that qform and sform may lie apart

WITHOUT_CONSEQUENCE = frozenset(  # for the place and the value of a voxel of a single volume
    (
        *("data_type", "db_name", "extents", "session_error", "regular", "dim_info", "intent_p1", "intent_p2"),
        *("intent_p3", "slice_start", "slice_end", "slice_code", "cal_max", "cal_min", "slice_duration"),
        *("toffset", "glmax", "glmin", "descrip", "aux_file", "intent_name", "eol_check", "unused_str"),
    )
)


@dataclass(frozen=True)
class Header:
    """What a header says of its voxels.

    Attributes:
        shape: of the volume; dtype: as stored, with its byte order; offset: of the first voxel, in bytes.
        slope, inter: value = slope * stored + inter.
        affine: float64 [4, 4], voxel to patient millimetres.
        notes: as of `RawVolume`.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    slope: float
    inter: float
    affine: np.ndarray
    notes: tuple[str, ...]


def parse(path: Path, start: bytes, label: bool) -> Header:
    """Read a header.

    Args:
        start: the first `HEADER_BYTES` of the file.
        label: whether the file is to hold a label map.

    Raises:
        ValueError: it is none.
        FlapSamError: a field says what cannot be, or what cannot be read here.
    """
    kinds = nib.Nifti1Header, nib.Nifti2Header
    kind = next((kind for kind in kinds if kind.may_contain_header(start)), None)
    if kind is None and path.suffix.lower() == ".hdr" and start[:4] in ANALYZE:
        raise FlapSamError(
            f"{path} is ANALYZE 7.5, which does not say how the patient lies; convert it to NIfTI, and look at "
            "left and right."
        )
    if kind is None:
        raise ValueError("it does not start as one" if start else "it is empty")
    header = kind.from_fileobj(io.BytesIO(start), check=False)
    if header["sizeof_hdr"] != kind.sizeof_hdr:
        raise ValueError(f"its header says that it is {header['sizeof_hdr']} bytes long, expected {kind.sizeof_hdr}")
    shape = check_shape(path, header.get_data_shape())
    dtype = _dtype(path, header)
    affine, odd = _affine(path, header, shape)
    slope, inter, scaling = _scaling(path, header)
    notes = (*odd, *scaling, *_oddities(header, dtype, label))
    return Header(
        shape=shape,
        dtype=dtype,
        offset=_offset(path, header),
        slope=slope,
        inter=inter,
        affine=affine,
        notes=tuple(f"{path.name} {note}" for note in notes),
    )


def _dtype(path: Path, header: nib.Nifti1Header) -> np.dtype:
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise FlapSamError(f"{path} holds {dtype} voxels, expected one real number each; export it as a grey image.")
    return dtype


def _offset(path: Path, header: nib.Nifti1Header) -> int:
    """Where the voxels start: in their own file, or in the header's, which ends 4 bytes after its fixed length."""
    single = header["magic"].item().startswith(b"n+")
    if single == (path.suffix.lower() == ".hdr"):
        place = "in the same file" if single else "in another file"
        raise FlapSamError(f"{path} says that its voxels lie {place}, which its name contradicts; convert it again.")
    lowest, found = header.sizeof_hdr + 4 if single else 0, float(header["vox_offset"])
    if found == 0:
        return lowest
    if not lowest <= found <= FARTHEST or found % 1:
        raise FlapSamError(
            f"{path} says that its voxels start at byte {found:g}, expected a whole number from {lowest} to "
            f"{FARTHEST}; convert it again."
        )
    return int(found)


def _scaling(path: Path, header: nib.Nifti1Header) -> tuple[float, float, list[str]]:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        said = slope != 0 or (np.isfinite(inter) and inter != 0)
        return 1.0, 0.0, [f"has scl_slope {slope:g} and scl_inter {inter:g}; read without scaling."] * said
    if not np.isfinite(inter):
        raise FlapSamError(f"{path} has scl_slope {slope:g} and scl_inter {inter:g}; convert it again.")
    return slope, inter, []


def _affine(path: Path, header: nib.Nifti1Header, shape: tuple[int, int, int]) -> tuple[np.ndarray, list[str]]:
    """The affine in millimetres, by sform, else qform, else neither, and what is odd about it."""
    sizes = np.asarray(header["pixdim"][1:4], float)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise FlapSamError(
            f"{path} has voxels of {size(sizes)} mm in its header, expected positive sizes; export it again."
        )
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    notes = [
        f"has the unknown {name} {code}; taken as scanner coordinates."
        for name, code in (("sform_code", sform), ("qform_code", qform))
        if code not in KNOWN_CODES
    ]
    if sform:
        affine, name = header.get_sform(), "sform"
        notes += _beside(header, affine, shape) if qform else []
    elif qform:
        affine, name = _qform(path, header), "qform"
    else:
        affine, name = header.get_base_affine(), "header"
        notes.append(
            "does not say how the patient lies (qform_code and sform_code are 0); taken with columns to the right, "
            "rows to the front and slices to the head, make sure that left and right are not swapped."
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.allclose(lengths, sizes, rtol=TOLERANCE, atol=0):
        notes.append(f"has voxels of {size(lengths)} by its {name}, but {size(sizes)} by pixdim; the {name} is taken.")
    return _in_millimetres(header, np.asarray(affine, float), notes), notes


def _in_millimetres(header: nib.Nifti1Header, affine: np.ndarray, notes: list[str]) -> np.ndarray:
    unit = int(header["xyzt_units"]) & SPATIAL
    if unit not in UNITS:
        notes.append(f"has the unknown unit of length {unit} in xyzt_units; taken as millimetres.")
    if unit in UNIT_NAMES:
        notes.append(f"is in the unit {UNIT_NAMES[unit]}; converted to millimetres.")
    affine = affine.copy()
    affine[:3] *= UNITS.get(unit, 1.0)
    return affine


def _qform(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    """By nibabel, which insists on a pixdim[0] of 1 or -1; a 0 stands for 1."""
    factor = float(header["pixdim"][0])
    if factor not in (-1, 0, 1):
        raise FlapSamError(f"{path} has the qform factor {factor:g} in pixdim[0], expected 1 or -1; convert it again.")
    own = header.copy()
    own["pixdim"][0] = factor or 1
    try:
        return own.get_qform()
    except ValueError as problem:
        raise FlapSamError(
            f"{path} has a qform whose quaternion is no rotation ({problem}); convert it again."
        ) from problem


def _beside(header: nib.Nifti1Header, sform: np.ndarray, shape: tuple[int, int, int]) -> list[str]:
    """What a qform says otherwise than the sform that is taken."""
    try:
        qform = _qform(Path(), header)
        apart = farthest(sform, qform, shape)
    except (FlapSamError, np.linalg.LinAlgError):
        return ["has a qform that is no rotation; its sform is taken."]
    if not apart > APART:
        return []
    mirrored = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    return [
        f"has a sform and a qform that put a corner {apart:.3g} voxels apart"
        f"{', one of them mirrored' if mirrored else ''}; its sform is taken."
    ]


def _oddities(header: nib.Nifti1Header, dtype: np.dtype, label: bool) -> Iterator[str]:
    if header["bitpix"] != dtype.itemsize * 8:
        yield f"has {header['bitpix']} bits a voxel by bitpix, but the datatype {dtype.name}; the datatype is taken."
    intent = int(header["intent_code"])
    if intent and not (label and intent == LABEL):
        name = nib.nifti1.intent_codes.label.get(intent, "unknown")
        yield f"has the intent {intent} ({name}); its numbers are taken as {'labels' if label else 'intensities'}."
