"""New scans as a person points to them: a NIfTI file, a DICOM series, or a folder of such."""

from dataclasses import dataclass
from pathlib import Path

from flap_sam.data.dicom import is_dicom, read_series, series_in
from flap_sam.data.geometry import Volume, read_volume, volume_of
from flap_sam.errors import FlapSamError

NIFTI = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Scan:
    """One volume to read.

    Args:
        name: of what is made from it.
        path: its NIfTI file, or the folder of its DICOM series.
        slices: the files of the series, in order; empty for NIfTI.
    """

    name: str
    path: Path
    slices: tuple[Path, ...] = ()

    def read(self) -> Volume:
        """Raises a FlapSamError as `read_volume` and `read_series`."""
        if self.slices:
            return volume_of(self.path, *read_series(list(self.slices)))
        return read_volume(self.path)


def scans_at(path: Path) -> list[Scan]:
    """What lies at a path, by name: of a folder its NIfTI files, its own DICOM series, and those of its folders.

    Raises:
        FlapSamError: there is nothing, or nothing of the kind.
    """
    if path.is_file():
        return [_of_file(path)]
    if not path.is_dir():
        raise FlapSamError(f"{path} does not exist; point to a NIfTI file, a DICOM series, or a folder of such.")
    found = [Scan(stem(file), file) for file in sorted(path.iterdir()) if file.is_file() and is_nifti(file)]
    for folder in (path, *sorted(p for p in path.iterdir() if p.is_dir())):
        found += _of_folder(folder)
    if not found:
        raise FlapSamError(f"{path} holds no NIfTI file (.nii, .nii.gz) and no DICOM series; point to another folder.")
    twice = sorted({scan.name for scan in found if sum(other.name == scan.name for other in found) > 1})
    if twice:
        raise FlapSamError(f"{path} holds two scans that would both be called {twice[0]}; rename one.")
    return found


def _of_file(path: Path) -> Scan:
    if is_nifti(path):
        return Scan(stem(path), path)
    if is_dicom(path):
        return Scan(path.stem, path, (path,))
    raise FlapSamError(f"{path} is neither NIfTI nor DICOM; give a volume as .nii, .nii.gz or a folder of DICOM files.")


def _of_folder(folder: Path) -> list[Scan]:
    if not any(is_dicom(file) for file in folder.iterdir() if file.is_file()):
        return []
    series, name = series_in(folder), folder.resolve().name
    names = [name] if len(series) == 1 else [f"{name}-{k}" for k in range(1, len(series) + 1)]
    return [Scan(name, folder, tuple(files)) for name, files in zip(names, series, strict=True)]


def is_nifti(path: Path) -> bool:
    """Whether a file is called as NIfTI files are."""
    return path.name.endswith(NIFTI)


def stem(path: Path) -> str:
    """A NIfTI file's name without its ending."""
    return next(path.name.removesuffix(ending) for ending in NIFTI if path.name.endswith(ending))
