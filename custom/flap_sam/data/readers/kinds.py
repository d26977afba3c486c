# SPDX-License-Identifier: Apache-2.0
"""Which files hold volumes, by their names, and what else lies beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flap_sam.errors import FlapSamError

NIFTI = (".nii.gz", ".nii", ".hdr")
META, NRRD = (".mha", ".mhd"), (".nrrd", ".nhdr")
ENDINGS = (*NIFTI, *META, *NRRD)
PARTS = (".img", ".raw", ".zraw", ".raw.gz")  # hold the voxels of a header of the same name
READABLE = ".nii.gz, .nii, .hdr, .mha, .mhd, .nrrd, .nhdr"
FEW = 5  # names in a sentence


def ending(path: Path, endings: tuple[str, ...] = ENDINGS) -> str:
    """The ending of a file among these, however it is capitalised; empty where it has none of them."""
    return next((end for end in endings if path.name.lower().endswith(end)), "")


def is_hidden(path: Path) -> bool:
    """Whether a name begins with a dot, such as the `._` files that macOS lays beside others."""
    return path.name.startswith(".")


def is_volume(path: Path) -> bool:
    """Whether a file is called as files that hold a volume are."""
    return bool(ending(path)) and not is_hidden(path)


def stem(path: Path) -> str:
    """A volume's name without its ending."""
    return path.name[: len(path.name) - len(ending(path))]


@dataclass(frozen=True)
class Listing:
    """What lies in a folder, files that begin with a dot aside.

    Attributes:
        volumes: by stem.
        used: the volumes, and the files that hold the voxels of one that is but a header.
        others: all else, folders too.
    """

    folder: Path
    volumes: dict[str, tuple[Path, ...]]
    used: frozenset[Path]
    others: tuple[Path, ...]

    @classmethod
    def of(cls, folder: Path) -> "Listing":
        """The listing of a folder; empty where there is none."""
        seen = sorted(path for path in folder.iterdir() if not is_hidden(path)) if folder.is_dir() else []
        volumes: dict[str, tuple[Path, ...]] = {}
        for path in seen:
            if is_volume(path):
                volumes[stem(path)] = (*volumes.get(stem(path), ()), path)
        parts = {path for path in seen if (end := ending(path, PARTS)) and path.name[: -len(end)] in volumes}
        used = parts.union(*volumes.values())
        return cls(folder, volumes, frozenset(used), tuple(path for path in seen if path not in used))

    def find(self, *stems: str) -> Path | None:
        """The one volume that is called so, whatever its ending; raises FlapSamError where there are two."""
        found = [path for name in stems for path in self.volumes.get(name, ())]
        if len(found) > 1:
            raise FlapSamError(
                f"{self.folder} holds {found[0].name} and {found[1].name}, which would both be the case {stems[0]}; "
                "remove or rename one."
            )
        return found[0] if found else None

    def place(self, *stems: str) -> Path:
        """As `find`; where there is none, the folder of DICOM slices of that name, or else what should be there."""
        found = self.find(*stems)
        folder = self.folder / stems[0]
        return found or (folder if folder.is_dir() else self.folder / f"{stems[0]}{NIFTI[0]}")


def with_any_ending(path: Path) -> Path:
    """The one volume called as `path` but for its ending; `path` where there is none."""
    return Listing.of(path.parent).find(stem(path)) or path


def listed(paths: Sequence[Path], folder: Path) -> str:
    """How many files, and what the first few of them are called, seen from a folder."""
    names = ", ".join(str(path.relative_to(folder)) for path in paths[:FEW])
    return f"{len(paths)} ({names}{f' and {len(paths) - FEW} more' if len(paths) > FEW else ''})"
