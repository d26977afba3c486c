# SPDX-License-Identifier: Apache-2.0
"""Locks that name their holder. The kernel releases them when the holder ends, however it ends."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import writing

NAME = ".lock"
CHECK_SECONDS = 0.2


@contextmanager
def locked(path: Path, what: str, patience: float = 0.0) -> Iterator[int]:
    """Alone with what the lock file at `path` stands for; gives the file's descriptor.

    A child process that inherits the descriptor holds the lock too, until it ends. The file is removed at the end.

    Args:
        what: the lock stands for, to begin a sentence with.
        patience: seconds to wait for another holder.

    Raises:
        FlapSamError: another process, or another part of this one, holds the lock; or the file cannot be written.
    """
    until = time.monotonic() + patience
    with writing(path):
        while (lock := _taken(path)) is None and time.monotonic() < until:
            time.sleep(CHECK_SECONDS)
    if lock is None:
        raise FlapSamError(f"{what} is in use by {_holder(path)}; wait until that ends, or end it.")
    try:
        yield lock
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def _taken(path: Path) -> int | None:
    """The locked file's descriptor; None where another has the lock, or has just removed the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), path.stat()):
            _sign(lock, path)
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _sign(lock: int, path: Path) -> None:
    """Note the holder in its lock file, which goes again where the disk has no room for the note."""
    note = {"host": socket.gethostname(), "pid": os.getpid(), "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(note).encode(), 0)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(path.read_bytes())
        return f"process {note['pid']} on {note['host']} since {note['since']}"
    return "another process"
