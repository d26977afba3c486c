# SPDX-License-Identifier: Apache-2.0
"""A weights file of a known SHA-256: what is hashed is what is loaded, whatever becomes of the file meanwhile."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flap_sam.errors import FlapSamError, Reason

PIECE = 1 << 20


@contextmanager
def pinned(path: Path, pin: str) -> Iterator[Path]:
    """A path to load the file by, once its bytes are found to have the SHA-256 `pin`.

    Tensors that are mapped from a file change when somebody writes into it, at any time after it was hashed. So the
    path leads to a copy without a name in the folder for temporary files, which was hashed as it was written: no other
    user can open it, and no change of `path`, by a rename, a link or a write, reaches it. Like the file itself it is
    mapped and not held in memory, unless that folder is. It takes the file's size there for as long as a tensor is
    mapped from it.

    Raises:
        FlapSamError: the file has another hash, or cannot be copied.
    """
    try:
        with tempfile.TemporaryFile() as copy:
            if (found := _copy(path, copy)) != pin.lower():
                raise FlapSamError(
                    f"Checkpoint {path} cannot be used: its sha256 is {found}, the site pins {pin}; bring back the "
                    "pinned file, or correct checkpoint_sha256.",
                    Reason.CHECKPOINT,
                )
            yield Path(f"/proc/self/fd/{copy.fileno()}")
    except OSError as error:
        raise FlapSamError(
            f"Checkpoint {path} cannot be copied to {tempfile.gettempdir()} ({error}), as its pin asks for; make room "
            "there, or set TMPDIR to another folder.",
            Reason.CHECKPOINT,
        ) from error


def _copy(path: Path, copy: BinaryIO) -> str:
    """The SHA-256 of what went from a file into another."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
            copy.write(piece)
    copy.flush()
    return digest.hexdigest()
