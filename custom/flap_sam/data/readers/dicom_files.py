# SPDX-License-Identifier: Apache-2.0
"""DICOM files below a folder: which belong together as a series of slices, and what else lies there.

On a CD, slices lie in nested folders, beside an index, reports, doses and segmentations.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flap_sam.data.readers.dicom_dataset import has_preamble, is_dicom, read_dataset
from flap_sam.data.readers.kinds import is_hidden, listed
from flap_sam.errors import FlapSamError
from flap_sam.foundation.extras import require
from flap_sam.foundation.files import sha256

if TYPE_CHECKING:
    from pydicom import Dataset

LOCALIZER = "LOCALIZER"
STORAGE = "1.2.840.10008.5.1.4.1.1."
TOMOGRAPHIC = frozenset(  # CT, MR and PET, as slices, as frames, and as frames made of slices; 3D X-ray
    STORAGE + end for end in ("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "128.1", "130", "13.1.1", "13.1.2", "13.1.3")
)
NO_SCANS = frozenset(STORAGE + end for end in ("66.4", "66.7", "481.2", "30"))  # SEG, label map, RTDOSE, parametric map
TAGS = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "ImageType", "Rows", "ImagePositionPatient"]
INDEX = "1.2.840.10008.1.3.10"  # the file DICOMDIR
DAMAGED = "damaged"


@dataclass(frozen=True)
class Series:
    """The files of one series; `folder` is the deepest one that holds them all."""

    folder: Path
    files: tuple[Path, ...]


@dataclass(frozen=True)
class DicomFiles:
    """What lies below a folder.

    Attributes:
        series: in the order of their folders.
        others: the files that are no DICOM, and do not begin with a dot.
        notes: sentences that name and count the DICOM files that are passed over.
    """

    series: tuple[Series, ...]
    others: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    """A DICOM file: `kind` says what it is where it is no slice, `place` where its slice lies."""

    path: Path
    series: str = ""
    instance: str = ""
    kind: str = ""
    place: tuple[float, ...] = ()


def series_below(folder: Path) -> DicomFiles:
    """The DICOM files in a folder and in all folders below it."""
    files: list[_File] = []
    others: list[Path] = []
    for path in _walk(folder):
        if is_dicom(path) and (told := _told(path)):
            files.append(told)
        else:
            others.append(path)
    groups: dict[tuple[Path, str], list[_File]] = defaultdict(list)
    for file in files:
        if not file.kind:
            groups[file.path.parent, file.series].append(file)
    damaged = [file for file in files if file.kind == DAMAGED]
    notes: list[str] = []
    for (place, series), group in groups.items():
        kept, copies = _without_copies(group)
        if copies:
            notes.append(f"{_name(place)} holds slices twice, passed over: {listed(copies, place)}.")
        # Which series a damaged file belongs to it cannot say; without it a volume might be short of a slice.
        groups[place, series] = kept + [file for file in damaged if file.path.parent == place]
    spared = {file.path.parent for file in damaged} & {place for place, _ in groups}
    aside = [file for file in files if file.kind and not (file.kind == DAMAGED and file.path.parent in spared)]
    every = tuple(_series(group) for group in _merged(groups))
    return DicomFiles(every, tuple(others), (*notes, *_passed_over(folder, aside)))


def the_series_at(folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The slices of the only series below a folder, and notes about what else lies there.

    Raises:
        FlapSamError: there is none, or several.
    """
    found = series_below(folder)
    notes = found.notes
    if found.others:
        notes += (f"{_name(folder)} holds what is no DICOM file, passed over: {listed(found.others, folder)}.",)
    if len(found.series) != 1:
        raise FlapSamError(
            f"{folder} holds {len(found.series) or 'no'} DICOM series of slices, expected one; point to the folder of "
            f"one. {' '.join(notes)}".strip()
        )
    return found.series[0].files, notes


def _walk(folder: Path) -> Iterator[Path]:
    """The files in a folder and below, by name; those and the folders that begin with a dot aside."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        files = [] if real in seen else [Path(place, name) for name in sorted(names)]
        seen.add(real)
        yield from (path for path in files if not is_hidden(path) and path.is_file())


def _name(folder: Path) -> str:
    return folder.resolve().name


def _told(path: Path) -> _File | None:
    """What a file says of itself; None where it merely looks like DICOM."""
    require("dicom", f"{path}, which begins as a DICOM file,")
    try:
        header = read_dataset(path, stop_before_pixels=True, specific_tags=TAGS)
        if kind := kind_of(header):
            return _File(path, kind=kind)
        if header.get("SOPClassUID") and header.get("SeriesInstanceUID"):
            place = tuple(float(number) for number in header.get("ImagePositionPatient") or ())
            return _File(path, header.SeriesInstanceUID, header.get("SOPInstanceUID", ""), place=place)
    except Exception:  # whatever pydicom meets in a damaged file; `read_series` will say it
        pass
    return _File(path, kind=DAMAGED) if has_preamble(path) else None


def kind_of(header: "Dataset") -> str:
    """What an object is that is no slice or stack of slices of a scan; empty where it is one, or cannot say it."""
    if header.file_meta.get("MediaStorageSOPClassUID") == INDEX:
        return header.file_meta.MediaStorageSOPClassUID.name
    if LOCALIZER in (str(value).upper() for value in header.get("ImageType") or ()):
        return "localizer"
    sort = header.get("SOPClassUID")
    placed = header.get("ImagePositionPatient") is not None and "Rows" in header
    return "" if not sort or sort in TOMOGRAPHIC or (placed and sort not in NO_SCANS) else sort.name


def _without_copies(group: list[_File]) -> tuple[list[_File], list[Path]]:
    """The files of a group without byte-for-byte copies, and the paths of the copies."""
    seen: dict[str, list[_File]] = defaultdict(list)
    kept, double = [], []
    for file in group:
        if any(sha256(file.path) == sha256(other.path) for other in seen[file.instance]):
            double.append(file.path)
        else:
            seen[file.instance].append(file)
            kept.append(file)
    return kept, double


def _merged(groups: dict[tuple[Path, str], list[_File]]) -> Iterator[list[_File]]:
    """The groups; those of one series are joined where all their slices lie at different places in the patient.

    Where places repeat, the folders hold copies or time points, which stay apart.
    """
    by_series: dict[str, list[list[_File]]] = defaultdict(list)
    for (_, series), group in sorted(groups.items()):
        by_series[series].append(group)
    for alike in by_series.values():
        places = [file.place for group in alike for file in group]
        if all(places) and len(set(places)) == len(places):
            yield [file for group in alike for file in group]
        else:
            yield from alike


def _series(group: list[_File]) -> Series:
    files = tuple(file.path for file in group)
    return Series(Path(os.path.commonpath([file.parent for file in files])), files)


def _passed_over(folder: Path, files: Iterable[_File]) -> Iterator[str]:
    kinds: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        kinds[file.kind].append(file.path)
    for kind, paths in sorted(kinds.items()):
        told = f"{kind}, {listed(paths, folder)}"
        yield f"{_name(folder)} holds DICOM files that are no slices of a scan, passed over: {told}."
