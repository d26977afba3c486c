# SPDX-License-Identifier: Apache-2.0
"""The site's audit log: a line of JSON for everything that came, left or was refused, each bound to the line before."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import Field

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.files import replacing
from flap_sam.foundation.strict import StrictModel, parse

FILE_NAME = "flap_audit.jsonl"
HEAD_SUFFIX = ".head"
PREVIOUS = "previous"
RELEASED = "sha256"
FIRST = "0" * 64


class Head(StrictModel):
    """Where a log ends. It is kept apart from the log, to show where the last line has been removed.

    Args:
        lines, bytes: length of the log.
        sha256: of its last line.
    """

    lines: Annotated[int, Field(ge=0)] = 0
    bytes: Annotated[int, Field(ge=0)] = 0
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = FIRST


def _after(head: Head, line: bytes) -> Head:
    """The head once a line has been added."""
    return Head(lines=head.lines + 1, bytes=head.bytes + len(line), sha256=_hash(line))


@dataclass(frozen=True)
class AuditLog:
    """The audit log of one site.

    Args:
        path: the log.
        folder: where its head is kept.
    """

    path: Path
    folder: Path

    @property
    def head_path(self) -> Path:
        return self.folder / (self.path.name + HEAD_SUFFIX)

    def write(self, entry: Mapping[str, object]) -> None:
        """Append an entry with the time and the SHA-256 of the line before it; on return it is on the disk.

        Raises:
            FlapSamError: it cannot be written, or the log is not the one that was left.
        """
        try:
            with _locked(self.path) as log:
                head = self._caught_up(log)
                told = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry, PREVIOUS: head.sha256}
                line = (json.dumps(told) + "\n").encode()
                log.write(line)
                log.flush()
                os.fsync(log.fileno())
                self._keep(_after(head, line))
        except (OSError, ValueError) as error:
            raise self._unwritten(error) from error

    def has_releases(self) -> bool:
        """Whether the log tells that anything has left the site.

        Raises:
            FlapSamError: it is there and cannot be read.
        """
        return any(RELEASED in entry for entry in self.entries())

    def entries(self) -> Iterator[dict[str, Any]]:
        """What the log tells, line by line; nothing where there is none.

        Raises:
            FlapSamError: a line is none.
        """
        try:
            for number, line in enumerate(self.path.read_bytes().splitlines() if self.path.exists() else [], 1):
                yield _entry(number, line)
        except (OSError, ValueError) as error:
            raise self._refused(f"cannot be read ({error}); bring it back from a backup") from error

    def verify(self) -> str | None:
        """What is wrong with the log or its head, in a clause; None in a whole log."""
        if not self.path.exists():
            return f"the log is missing, but its head {self.head_path} is there; bring both back from one backup"
        try:
            head = head_of(self.path)
            kept = self._head()
        except (OSError, ValueError) as error:
            return str(error)
        if head == kept:
            return None
        if kept is None:
            return f"its head {self.head_path} is missing"
        return f"it ends with line {head.lines}, but its head knows {kept.lines} lines or another last one"

    def _caught_up(self, log: BinaryIO) -> Head:
        """The log's head, once it agrees with the log; the file's position is the log's end.

        A process may have been killed between writing a line and writing the head. Nothing has passed on that line
        yet: if it is whole it stays and the head is brought up to it, otherwise it is removed. As this happens before
        every line, the head is never more than one line behind.
        """
        head = self._head() or Head()
        size = log.seek(0, os.SEEK_END)
        if size < head.bytes:
            raise self._refused(f"has lost lines: it should have {head.lines}; bring it back from a backup")
        log.seek(head.bytes)
        rest = log.read()
        if b"\n" not in rest:
            log.truncate(head.bytes)
        elif rest.count(b"\n") == 1 and rest.endswith(b"\n") and _entry(head.lines + 1, rest)[PREVIOUS] == head.sha256:
            head = _after(head, rest)
            self._keep(head)
        else:
            raise self._refused("has lines that its head does not know; bring log and head back from one backup")
        log.seek(head.bytes)
        return head

    def _head(self) -> Head | None:
        return parse(Head, self.head_path.read_bytes()) if self.head_path.exists() else None

    def _keep(self, head: Head) -> None:
        try:
            with replacing(self.head_path, private=True) as stream:
                stream.write(head.to_json().encode())
        except FlapSamError as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: Exception) -> FlapSamError:
        return self._refused(f"cannot be written ({error}); make room or give the service the right to")

    def _refused(self, found: str) -> FlapSamError:
        return FlapSamError(f"The audit log {self.path} {found}; until then nothing passes.", Reason.AUDIT)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        yield log


def head_of(path: Path) -> Head:
    """The head of a whole log.

    Raises:
        OSError: it cannot be read.
        ValueError: names the first line that is not bound to the one before it.
    """
    head = Head()
    for line in path.read_bytes().splitlines(keepends=True):
        if _entry(head.lines + 1, line)[PREVIOUS] != head.sha256:
            raise ValueError(_unbound(head.lines + 1))
        head = _after(head, line)
    return head


def _entry(number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number} is no JSON") from error
    if not isinstance(entry, dict) or PREVIOUS not in entry:
        raise ValueError(_unbound(number))
    return entry


def _unbound(number: int) -> str:
    before = f"line {number - 1}: either of them was changed" if number > 1 else "the log's start: it was changed"
    return f"line {number} is not bound to {before}, or lines were moved, added or removed there"


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
