# SPDX-License-Identifier: Apache-2.0
"""Folders that a command has made and marked: these alone it may empty."""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import PARTIAL, writing

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
    """Make a folder where there is none, and mark it as one that may be emptied.

    Raises:
        FlapSamError: it cannot be written.
    """
    path = folder / mark
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(TEXT)  # half of it marks as well as the whole


def fresh(folder: Path) -> Path:
    """A marked folder without anything else in it. The mark stays all the while: who is interrupted can begin again.

    Raises:
        FlapSamError: something is there that no command has made, or the folder cannot be written.
    """
    require_own(folder)
    mark_own(folder)
    with writing(folder):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != MARK:
                path.unlink()
    return folder


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; it appears under its name only when the block ends without an error.

    A killed writer leaves at most `<name>.partial`, which the next writer of the same folder removes.

    Raises:
        FlapSamError: it is there already, or cannot be written, or another's folder has the name of the half-made one.
    """
    if path.exists():
        raise FlapSamError(f"{path} is there already; name a new folder.")
    with writing(path):
        partial = fresh(path.with_name(path.name + PARTIAL))
        try:
            yield partial
            partial.rename(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        (path / MARK).unlink()
