# SPDX-License-Identifier: Apache-2.0
"""The files of a source as they are now: their size, times and SHA-256."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flap_sam.data.manifest import Case, SourceFile
from flap_sam.data.sources.source import SourceCase
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import sha256

HEADERS = (".hdr", ".img", ".mhd", ".nhdr")  # of volumes whose voxels may lie in another file of the same name
PARTS = (*HEADERS, ".img.gz", ".raw", ".raw.gz", ".zraw")


@dataclass(frozen=True)
class Stamped:
    """A case of a source, and the files of its image and of its label map."""

    case: SourceCase
    image_files: tuple[SourceFile, ...]
    label_files: tuple[SourceFile, ...]

    @property
    def contents(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """As `Case.contents`."""
        return tuple(file.sha256 for file in self.image_files), tuple(file.sha256 for file in self.label_files)


def stamped(known: Mapping[str, Case], case: SourceCase) -> Stamped:
    """A case with its files as they are now.

    A label map is hashed whatever its size and times. An image is hashed unless its size and both of its times are
    those of a file that is known: a copy that keeps the time of its content still changes the other one.

    Args:
        known: cases by name, of which an image's hash may be taken; empty to have all files hashed.

    Raises:
        FlapSamError: a file cannot be read.
    """
    before = known[case.id].image_files if case.id in known else ()
    return Stamped(case, _stamps(case.image, before), _stamps(case.label, ()))


def check_unchanged(taken: Stamped) -> None:
    """Raises a FlapSamError where a file of a case is no longer as it was when its stamp was taken."""
    for path, stamps in ((taken.case.image, taken.image_files), (taken.case.label, taken.label_files)):
        try:
            now = [_look(file) for file in files_of(path)]
        except OSError:
            now = []
        if now != [_seen(stamp) for stamp in stamps]:
            raise FlapSamError(f"{path} was changed while it was read; prepare the site again once it is finished.")


def files_of(path: Path) -> list[Path]:
    """The files of a volume: of a folder all but hidden ones, of a header by itself also the files of its voxels."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    if path.suffix.lower() in HEADERS and path.exists():
        parts = {f"{path.stem}{end}".lower() for end in PARTS}
        return sorted(file for file in path.parent.iterdir() if file.name.lower() in parts)
    return [path]


def _stamps(path: Path, known: Sequence[SourceFile]) -> tuple[SourceFile, ...]:
    hashes = {_seen(file): file.sha256 for file in known}
    try:
        return tuple(_stamp(file, hashes) for file in files_of(path))
    except OSError as problem:
        raise FlapSamError(
            f"{path} cannot be opened ({problem.strerror}), expected a NIfTI file there; fetch it, or let this user "
            "read it."
        ) from problem


def _stamp(file: Path, hashes: Mapping[tuple[str, int, int, int], str]) -> SourceFile:
    seen = _look(file)
    name, size, modified, changed = seen
    digest = hashes.get(seen) or sha256(file)
    return SourceFile(name=name, size=size, modified_ns=modified, changed_ns=changed, sha256=digest)


def _look(file: Path) -> tuple[str, int, int, int]:
    told = file.stat()
    return file.name, told.st_size, told.st_mtime_ns, told.st_ctime_ns


def _seen(file: SourceFile) -> tuple[str, int, int, int]:
    return file.name, file.size, file.modified_ns, file.changed_ns
