"""Folders that a command has made and marked: these alone it may empty."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from flap_sam.errors import FlapSamError

MARK = ".flap-sam"
TEXT = b"flap-sam made the folder of this file, and empties it where a command says so.\n"


def require_own(folder: Path, mark: Path = Path(MARK), besides: Collection[str] = ()) -> None:
    """Refuse a folder that holds anything and is not marked.

    Args:
        mark: where the mark lies in the folder.
        besides: entries that are never removed, and so may be anybody's.

    Raises:
        FlapSamError: something is there that no command has made.
    """
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise FlapSamError(f"{folder} is no folder, and would have to be one; choose another.")
    if not (folder / mark).is_file() and (found := sorted({path.name for path in folder.iterdir()} - set(besides))):
        raise FlapSamError(
            f"{folder} would be emptied, but holds {found[0]!r} and was not made by this command; choose another "
            "folder, or move it away."
        )


def mark_own(folder: Path, mark: Path = Path(MARK)) -> None:
    """Make a folder where there is none, and mark it as one that may be emptied."""
    path = folder / mark
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(TEXT)


def fresh(folder: Path) -> Path:
    """A marked folder without anything else in it.

    Raises:
        FlapSamError: something is there that no command has made.
    """
    require_own(folder)
    if folder.exists():
        shutil.rmtree(folder)
    mark_own(folder)
    return folder
