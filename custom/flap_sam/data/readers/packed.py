# SPDX-License-Identifier: Apache-2.0
"""Files that may be packed by gzip or zlib: never unpacked beyond what their header declares."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

from flap_sam.errors import FlapSamError

GZIP_MAGIC = b"\x1f\x8b"
PIECE = 2**20
TRAILING = 2**20  # so many bytes may follow the voxels
AUTOMATIC = zlib.MAX_WBITS + 32  # zlib or gzip, whichever it is
RATIO = 1032  # no stream of gzip or zlib unpacks to more than so many times its own length


@contextmanager
def opened(path: Path, kind: str) -> Iterator[BufferedIOBase]:
    """The file's unpacked bytes; whatever is raised inside becomes a FlapSamError.

    After the block a packed file is read to its last byte, which is where gzip keeps its checksum.

    Args:
        kind: the format's name, for the sentence.

    Raises:
        FlapSamError: the file cannot be opened, is damaged, or goes on for more than `TRAILING` bytes after the block.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            if not packed:
                yield file
                return
            stream = gzip.GzipFile(fileobj=file)
            yield stream
            check_end(path, stream)
    except FlapSamError:
        raise
    except MemoryError as problem:
        raise FlapSamError(f"{path} does not fit into this machine's memory; cut it, or use a larger one.") from problem
    except OSError as problem:
        if problem.errno is None:
            raise damaged(path, kind, problem) from problem
        raise FlapSamError(
            f"{path} cannot be opened ({problem.strerror}), expected a {kind} file there; fetch it, or let this "
            "user read it."
        ) from problem
    except Exception as problem:
        raise damaged(path, kind, problem) from problem


def damaged(path: Path, kind: str, problem: object) -> FlapSamError:
    """The error of a file that cannot be read to its end."""
    reason = " ".join(str(problem).split())
    return FlapSamError(f"{path} cannot be read as {kind} ({reason}); it is damaged or truncated, fetch it again.")


def check_end(path: Path, stream: BufferedIOBase) -> None:
    """Read what is left of a stream, which must be little."""
    left = 0
    while piece := stream.read(PIECE):
        left += len(piece)
        if left > TRAILING:
            raise _too_long(path)


def check_declared(path: Path, kind: str, declared: int) -> None:
    """Raise a FlapSamError where a file is too short to hold so many bytes, packed or not."""
    with path.open("rb") as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    most = path.stat().st_size * (RATIO if packed else 1)
    if declared > most:
        raise damaged(path, kind, f"its header declares {declared} bytes, it can hold {most} at most")


def check_unpacked(path: Path, stream: BufferedIOBase, declared: int) -> None:
    """Unpack a stream of zlib or gzip piece by piece, keeping nothing, to see that it is as long as declared.

    Raises:
        EOFError: it is shorter, or ends too early.
        FlapSamError: it is longer by more than `TRAILING`.
    """
    unpacker, length = zlib.decompressobj(AUTOMATIC), 0
    while not unpacker.eof and (piece := unpacker.unconsumed_tail or stream.read(PIECE)):
        length += len(unpacker.decompress(piece, PIECE))
        if length > declared + TRAILING:
            raise _too_long(path)
    if length < declared or not unpacker.eof:
        raise EOFError(f"it ends after {length} of {declared} bytes")


def _too_long(path: Path) -> FlapSamError:
    return FlapSamError(
        f"{path} unpacks to more than its header declares, by over {TRAILING} bytes; it is no volume, or damaged: "
        "export it again."
    )
