# SPDX-License-Identifier: Apache-2.0
"""What a run of `flap-sam predict` notes beside its label maps, so that the same command goes on after an interruption.

OUTPUT/.<scan>.predict.json    while the run lasts, and after one that did not do all of its scans
"""

import hashlib
from functools import cached_property
from pathlib import Path

from flap_sam.data.stamps import files_of
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing, sha256, writing
from flap_sam.foundation.strict import StrictModel, parse
from flap_sam.inference.scans import Scan


class ScanOutcome(StrictModel):
    """What became of a scan that was segmented.

    Args:
        volumes: by class, in ml.
        notes: what is odd about the scan, see `Volume`.
    """

    volumes: tuple[float, ...]
    notes: tuple[str, ...]


class _Note(StrictModel):
    """Args: by: which network segments how; scan: SHA-256 of its files; outcome: None until all files are there."""

    by: str
    scan: str
    outcome: ScanOutcome | None = None


class ScanNote:
    """The note on one scan.

    Args:
        by: digest of the network and of all that decides what it makes of a scan.
    """

    def __init__(self, folder: Path, scan: Scan, by: str) -> None:
        self._path = folder / f".{scan.name}.predict.json"
        self._scan, self._by = scan, by

    def is_ours(self) -> bool:
        """Whether the files made from a scan of this name are those of a run like this one."""
        found = self._read()
        return found is not None and found.by == self._by

    def outcome(self) -> ScanOutcome | None:
        """What a run like this one has made of this very scan; None where it has not finished it."""
        found = self._read()
        return found.outcome if found and (found.by, found.scan) == (self._by, self._digest) else None

    def write(self, outcome: ScanOutcome | None) -> None:
        """Note that the scan is begun, or its outcome once all of its files are there.

        Raises:
            FlapSamError: the note cannot be written, or the scan not be read.
        """
        with replacing(self._path) as stream:
            stream.write(_Note(by=self._by, scan=self._digest, outcome=outcome).to_json().encode())

    def remove(self) -> None:
        """Remove the note: the scan's files are finished, and later runs do not touch them."""
        with writing(self._path):
            self._path.unlink(missing_ok=True)

    def _read(self) -> _Note | None:
        try:
            return parse(_Note, self._path.read_bytes())
        except (OSError, ValueError):
            return None

    @cached_property
    def _digest(self) -> str:
        files = self._scan.slices or files_of(self._scan.path)
        try:
            return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()
        except OSError as problem:
            raise FlapSamError(f"{self._scan.path} cannot be read ({problem}).") from problem
