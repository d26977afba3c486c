# SPDX-License-Identifier: Apache-2.0
"""One DICOM file, read by pydicom: quietly, and not unpacked beyond a limit."""

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flap_sam.errors import FlapSamError

if TYPE_CHECKING:
    from pydicom import Dataset

PREAMBLE, MAGIC = 128, b"DICM"
FIRST_GROUPS = (b"\x08\x00", b"\x02\x00")  # that a file without a preamble starts with
GROUP_LENGTHS = (b"\0\0UL\4\0", b"\0\0\4\0\0\0")  # an element that says how long its group is
DEFLATED = "1.2.840.10008.1.2.1.99"
UNTOLD = {  # how an old file is written that does not say it, by whether implicitly and little-endian
    (True, True): "1.2.840.10008.1.2",
    (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}
LENGTH_ELEMENT = 12  # bytes of the first element after the magic: how long the meta information is
LONGEST, PIECE = 2**30, 2**20


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do; old ones have no preamble."""
    with path.open("rb") as stream:
        start = stream.read(PREAMBLE + len(MAGIC))
    is_element = start[2:8] in GROUP_LENGTHS or (start[2:4] != b"\0\0" and start[3:4] == b"\0")
    return start[PREAMBLE:] == MAGIC or (start[:2] in FIRST_GROUPS and is_element)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings, of values that break the standard, off the console; those used are checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_dataset(path: Path, **options: Any) -> "Dataset":
    """A file's data set; `options` are those of `pydicom.dcmread`.

    Raises:
        FlapSamError: it unpacks to more than `LONGEST` bytes.
        Exception: whatever pydicom raises of a damaged file.
    """
    import pydicom
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import UID

    with quiet():
        if has_preamble(path) and (meta := read_file_meta_info(path)).get("TransferSyntaxUID") == DEFLATED:
            _check_deflated(path, PREAMBLE + len(MAGIC) + LENGTH_ELEMENT + meta.FileMetaInformationGroupLength)
        dataset = pydicom.dcmread(path, force=True, **options)
        implicit, little_endian = dataset.original_encoding
        if "TransferSyntaxUID" not in dataset.file_meta and implicit is not None and little_endian is not None:
            dataset.file_meta.TransferSyntaxUID = UID(UNTOLD[implicit, little_endian])
        return dataset


def has_preamble(path: Path) -> bool:
    """Whether a file starts with the 128 bytes and the magic word that DICOM asks for."""
    with path.open("rb") as stream:
        return stream.read(PREAMBLE + len(MAGIC))[PREAMBLE:] == MAGIC


def _check_deflated(path: Path, start: int) -> None:
    """Unpack a file that is deflated from byte `start` on piece by piece, keeping nothing."""
    unpacker, length = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as stream:
        stream.seek(start)
        while not unpacker.eof and (piece := unpacker.unconsumed_tail or stream.read(PIECE)):
            length += len(unpacker.decompress(piece, PIECE))
            if length > LONGEST:
                raise FlapSamError(f"{path} unpacks to more than {LONGEST} bytes, expected one slice; export it again.")
