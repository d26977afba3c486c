# SPDX-License-Identifier: Apache-2.0
"""The headers of MetaImage and NRRD files: what SimpleITK does not use of them is used, refused or mentioned here.

Sources: the documentation of MetaIO (itk.org/Wiki/MetaIO) and of NRRD (teem.sourceforge.net/nrrd/format.html).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from nibabel.orientations import aff2axcodes

from flap_sam.data.readers.raw import TO_RAS
from flap_sam.errors import FlapSamError

LONGEST = 2**20  # of a header, in bytes
UNITS = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 0.001}
SYNONYMS = {
    "millimeter": "mm",
    "millimetre": "mm",
    "centimeter": "cm",
    "centimetre": "cm",
    "meter": "m",
    "metre": "m",
    "micron": "um",
    "micrometer": "um",
    "micrometre": "um",
    "µm": "um",
}
UNTOLD = ("", "?", "???")
META_USED = frozenset(  # by SimpleITK, or below
    (
        *("NDims", "BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB", "CompressedData"),
        *("CompressedDataSize", "TransformMatrix", "Rotation", "Orientation", "Offset", "Origin", "Position"),
        *("CenterOfRotation", "AnatomicalOrientation", "ElementSpacing", "ElementSize", "DimSize"),
        *("HeaderSize", "ElementType", "ElementNumberOfChannels", "ElementToIntensityFunctionSlope"),
        *("ElementToIntensityFunctionOffset", "ElementDataFile", "DistanceUnits", "ITK_VoxelUnits"),
    )
)
META_WITHOUT_CONSEQUENCE = frozenset(  # for the place and the value of a voxel
    (
        *("ObjectType", "ObjectSubType", "Name", "ID", "ParentID", "Color", "Comment", "AcquisitionDate"),
        *("Modality", "ElementMin", "ElementMax", "ElementNBits", "CompressionLevel", "SequenceID"),
    )
)
RAW, PACKED, OTHER = "raw", "packed", "other"
NRRD_ENCODINGS = {"raw": RAW, "gzip": PACKED, "gz": PACKED}
PLAIN = 0.8  # how much of an axis must run along one of the patient's, for three letters to be beyond doubt
TURNS = ("TransformMatrix", "Rotation", "Orientation")
ANATOMICAL = re.compile(r"(?:[rl][ap]s|(?:right|left)-(?:anterior|posterior)-superior)(?:t|-time)?")


@dataclass(frozen=True)
class Header:
    """What is to be done beyond what SimpleITK does.

    Attributes:
        millimetres: that the header's unit of length stands for.
        slope, inter: value = slope * stored + inter.
        packing: RAW, PACKED by zlib or gzip, or OTHER; `data` is the file that holds the voxels from `start` on, unless
            it is OTHER.
        notes: as of `RawVolume`, without the file's name.
    """

    notes: tuple[str, ...]
    millimetres: float
    slope: float
    inter: float
    packing: str
    data: Path
    start: int


def meta_header(path: Path, stream: BufferedIOBase) -> Header:
    """The header of a MetaImage; raises ValueError where it is none, FlapSamError where it says what cannot be."""
    text = stream.read(LONGEST)
    end = re.search(rb"^ElementDataFile\s*=\s*(.*?)\r?\n", text, re.MULTILINE)
    if end is None:
        raise ValueError("it does not start as one" if text else "it is empty")
    lines = (line.partition("=") for line in text[: end.start()].decode("latin-1").splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines if name.strip()}
    slope, inter = (
        _number(path, fields, f"ElementToIntensityFunction{name}", default)
        for name, default in (("Slope", 1.0), ("Offset", 0.0))
    )
    unit = fields.get("DistanceUnits", "")
    millimetres, notes = _millimetres(path, {unit})
    data = end[1].decode("latin-1").strip()
    local = data.upper() == "LOCAL"
    return Header(
        notes=(*notes, *_meta_oddities(fields)),
        millimetres=millimetres,
        slope=slope,
        inter=inter,
        packing=_packing(path if local else path.parent / data, _meta_encoding(fields)),
        data=path if local else path.parent / data,
        start=end.end() if local else 0,
    )


def _meta_encoding(fields: dict[str, str]) -> str:
    true = {name: fields.get(name, "").lower() in ("true", "1") for name in ("BinaryData", "CompressedData")}
    return PACKED if true["CompressedData"] else RAW if true["BinaryData"] else OTHER


def _packing(data: Path, encoding: str) -> str:
    """The encoding, unless the voxels lie in several files, which a list or a pattern names."""
    return encoding if data.is_file() else OTHER


def _meta_oddities(fields: dict[str, str]) -> Iterator[str]:
    if unknown := sorted(fields.keys() - META_USED - META_WITHOUT_CONSEQUENCE):
        yield f"has fields in its header that are not known here and passed over: {', '.join(unknown)}."
    spacing, size = (_numbers(fields.get(name, "")) for name in ("ElementSpacing", "ElementSize"))
    if not spacing:
        taken = "ElementSize is taken" if size else "1 mm is taken"
        yield f"does not say how far its voxels lie apart (ElementSpacing); {taken}."
    elif size and not np.allclose(spacing, size):
        yield "has voxels of another size (ElementSize) than they lie apart (ElementSpacing); the latter is taken."
    turn = next((_numbers(fields[name]) for name in TURNS if name in fields), None)
    if turn is None:
        yield (
            "does not say how the patient lies (TransformMatrix); taken with columns to the left, rows to the back and "
            "slices to the head, make sure that left and right are not swapped."
        )
    elif len(turn) == 9 and (said := fields.get("AnatomicalOrientation", "")) not in UNTOLD:
        direction = np.reshape(turn, (3, 3)).T
        found = _from_codes(direction)
        if said.upper() != found and np.abs(direction).max(axis=0).min() > PLAIN:
            yield f"has the AnatomicalOrientation {said[:9]}, but its TransformMatrix is {found}; the latter is taken."
    if any(_numbers(fields.get("CenterOfRotation", ""))):
        yield "has a CenterOfRotation other than 0, which is passed over."


def _from_codes(direction: np.ndarray) -> str:
    """MetaImage's three letters: the sides of the patient that the axes come from; direction is that of ITK."""
    affine = np.eye(4)
    affine[:3, :3] = direction
    opposite = dict(zip("RLAPSI", "LRPAIS", strict=True))
    codes = aff2axcodes(TO_RAS @ affine) if np.linalg.matrix_rank(direction) == 3 else ("R", "A", "S")
    return "".join(opposite[code or "R"] for code in codes)


def nrrd_header(path: Path, stream: BufferedIOBase) -> Header:
    """The header of a NRRD; raises ValueError where it is none, FlapSamError where it says what cannot be."""
    text = stream.read(LONGEST)
    if not text.startswith(b"NRRD"):
        raise ValueError("it does not start as one" if text else "it is empty")
    end = re.search(rb"\r?\n\r?\n", text)
    lines = text[: end.start() if end else len(text)].decode("latin-1").splitlines()[1:]
    pairs = (line.partition(": ") for line in lines if not line.startswith("#") and ":=" not in line)
    fields = {name.strip().lower().replace(" ", ""): value.strip() for name, found, value in pairs if found}
    units = {*re.findall(r'"([^"]*)"', fields.get("spaceunits", fields.get("units", "")))}
    millimetres, notes = _millimetres(path, units)
    data = path.parent / fields.get("datafile", path.name)
    return Header(
        notes=(*notes, *_nrrd_oddities(fields)),
        millimetres=millimetres,
        slope=1.0,
        inter=0.0,
        packing=_packing(data, NRRD_ENCODINGS.get(fields.get("encoding", "").lower(), OTHER)),
        data=data,
        start=end.end() if end and "datafile" not in fields else 0,
    )


def _nrrd_oddities(fields: dict[str, str]) -> Iterator[str]:
    space = fields.get("space", "")
    if not ANATOMICAL.fullmatch(space.lower()):
        found = f"its space is {space[:40]}" if space else "it has no space"
        yield (
            f"does not say how the patient lies ({found}); taken as left-posterior-superior, make sure that left and "
            "right are not swapped."
        )
    if "spacedirections" not in fields and "spacings" not in fields:
        yield "does not say how far its voxels lie apart (space directions, spacings); 1 mm is taken."
    if "node" in fields.get("centerings", fields.get("centers", "")).split():
        yield "has samples at the corners of its voxels (centerings); taken as their middles."
    if "oldmin" in fields or "oldmax" in fields:
        yield "says that its numbers were rounded from others (old min, old max); they are taken as they are."


def _millimetres(path: Path, units: set[str]) -> tuple[float, list[str]]:
    told = {
        SYNONYMS.get(plain.removesuffix("s"), plain) for unit in units if (plain := unit.strip().lower()) not in UNTOLD
    }
    if len(told) > 1:
        raise FlapSamError(
            f"{path} has axes in the units {', '.join(sorted(told))}, expected one; convert it to millimetres."
        )
    unit = told.pop() if told else "mm"
    if unit not in UNITS:
        return 1.0, [f"has the unknown unit of length {unit[:20]!r}; taken as millimetres."]
    return UNITS[unit], [] if unit == "mm" else [f"is in the unit {unit}; converted to millimetres."]


def _number(path: Path, fields: dict[str, str], name: str, default: float) -> float:
    if name not in fields:
        return default
    numbers = _numbers(fields[name])
    if len(numbers) != 1 or not np.isfinite(numbers[0]):
        raise FlapSamError(f"{path} has the {name} {fields[name][:40]!r}, expected one number; convert it again.")
    return numbers[0]


def _numbers(text: str) -> list[float]:
    """The numbers of a text; empty where there is another word among them."""
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        return []
