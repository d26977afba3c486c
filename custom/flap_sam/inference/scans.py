# SPDX-License-Identifier: Apache-2.0
"""New scans as a person points to them: a volume of any kind, a DICOM series, or a folder of such."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flap_sam.data.geometry import Volume, volume_of
from flap_sam.data.readers.dicom import read_series
from flap_sam.data.readers.dicom_dataset import is_dicom
from flap_sam.data.readers.dicom_files import Series, series_below
from flap_sam.data.readers.kinds import READABLE, Listing, ending, is_volume, listed, stem
from flap_sam.data.volumes import read_volume
from flap_sam.errors import FlapSamError


@dataclass(frozen=True)
class Scan:
    """One volume to read.

    Args:
        name: of what is made from it.
        path: its file, or the folder of its DICOM series.
        slices: the files of the series; empty for other kinds.
    """

    name: str
    path: Path
    slices: tuple[Path, ...] = ()

    def read(self) -> Volume:
        """Raises a FlapSamError as `read_volume` and `read_series`."""
        return volume_of(self.path, read_series(self.slices)) if self.slices else read_volume(self.path)


@dataclass(frozen=True)
class Found:
    """The scans at a path; `notes` name and count what else lies there and is passed over."""

    scans: tuple[Scan, ...]
    notes: tuple[str, ...] = ()


def scans_at(path: Path) -> Found:
    """What lies at a path, by name: of a folder its volumes, and the DICOM series in it and in the folders below.

    Raises:
        FlapSamError: there is nothing, or nothing of the kind.
    """
    if path.is_file():
        return Found((_of_file(path),))
    if not path.is_dir():
        raise FlapSamError(f"{path} does not exist; point to a volume, a DICOM series, or a folder of such.")
    listing, dicom = Listing.of(path), series_below(path)
    scans = [Scan(name, file) for name, files in sorted(listing.volumes.items()) for file in files]
    scans += _of_series(path, dicom.series)
    notes = (*dicom.notes, *_passed_over(path, set(dicom.others) - listing.used))
    if not scans:
        raise FlapSamError(
            f"{path} holds no volume ({READABLE}) and no DICOM series; point to another folder. "
            f"{' '.join(notes)}".strip()
        )
    twice = sorted({scan.name for scan in scans if sum(other.name == scan.name for other in scans) > 1})
    if twice:
        raise FlapSamError(f"{path} holds two scans that would both be called {twice[0]}; rename one.")
    return Found(tuple(scans), notes)


def _of_file(path: Path) -> Scan:
    if is_volume(path) or ending(path, (".img",)):
        return Scan(stem(path) if is_volume(path) else path.stem, path)
    if is_dicom(path):
        return Scan(path.stem, path, (path,))
    raise FlapSamError(f"{path} is neither NIfTI nor DICOM; give a volume ({READABLE}), or a folder of DICOM files.")


def _of_series(path: Path, series: tuple[Series, ...]) -> Iterator[Scan]:
    """Series by the folders that they lie in, and by number where these hold several."""
    many = Counter(one.folder for one in series)
    numbers: Counter[Path] = Counter()
    for one in series:
        numbers[one.folder] += 1
        name = "-".join(one.folder.relative_to(path).parts) or path.resolve().name
        yield Scan(name if many[one.folder] == 1 else f"{name}-{numbers[one.folder]}", one.folder, one.files)


def _passed_over(path: Path, others: set[Path]) -> Iterator[str]:
    below = sorted(file for file in others if is_volume(file))
    rest = sorted(file for file in others if not is_volume(file))
    for files, what in ((below, "volumes in folders below"), (rest, "what is no volume")):
        if files:
            yield f"{path} holds {what}, passed over: {listed(files, path)}."
