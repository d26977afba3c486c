"""The gate's audit log: a line of JSON for everything that came, left or was refused, each bound to the line before."""

import fcntl
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

FILE_NAME = "flap_audit.jsonl"
PREVIOUS = "previous"
FIRST = "0" * 64


def write(path: Path, entry: Mapping[str, object]) -> None:
    """Append an entry with the time and the SHA-256 of the line before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        log.seek(0)
        *_, last = log.readlines() or [b""]
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry, PREVIOUS: _hash(last)}
        log.write((json.dumps(line) + "\n").encode())


def broken_line(path: Path) -> int | None:
    """Number of the first line that is not bound to the one before it, counted from 1; None in a whole log."""
    last = b""
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        try:
            bound = json.loads(line).get(PREVIOUS)
        except (ValueError, AttributeError):
            return number
        if bound != _hash(last):
            return number
        last = line
    return None


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest() if line else FIRST
