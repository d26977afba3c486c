# SPDX-License-Identifier: Apache-2.0
"""Files that are either whole or absent."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from flap_sam.errors import FlapSamError

PARTIAL = ".partial"


class UnwritableError(FlapSamError):
    """A file or folder cannot be written."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A block that writes at `path`.

    Raises:
        UnwritableError: the system refuses; names the path.
    """
    try:
        yield
    except OSError as problem:
        raise UnwritableError(
            f"{path} cannot be written ({problem}); make room there or choose another folder."
        ) from problem


@contextmanager
def replacing(path: Path, private: bool = False) -> Iterator[BinaryIO]:
    """Open `path` for writing; it appears under its name, on the disk, only when the block ends without an error.

    A killed writer leaves at most `<name>.partial`, which the next writer of the same file removes. What somebody else
    puts there meanwhile, a link to another file say, is not written into.

    Args:
        private: nobody but this user may read the file.

    Raises:
        UnwritableError: the file or its folder cannot be written.
    """
    partial = path.with_name(path.name + PARTIAL)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)  # on a full disk it would take the room of what can still be written
            raise
        _settle(path.parent)


def _settle(folder: Path) -> None:
    """Bring a folder's names to the disk: a file that was renamed there is found there after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_if_empty(*folders: Path) -> None:
    """Remove folders, one after the other, that hold nothing; another process may be filling them meanwhile."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def sha256(path: Path) -> str:
    """The SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
