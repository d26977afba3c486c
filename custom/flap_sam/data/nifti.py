"""NIfTI files, read whole and distrusted: whatever is wrong with one ends in a sentence that names it."""

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np

from flap_sam.errors import FlapSamError

KINDS = (nib.Nifti1Image, nib.Nifti2Image)
HEADER_BYTES = 540  # of NIfTI-2, the longer one
GZIP_MAGIC = b"\x1f\x8b"
PIECE = 2**20


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a `.nii` or `.nii.gz` file to its last byte, which is where gzip keeps its checksum.

    Returns:
        The file's own array of 3 axes, scaled as its header says: whole numbers where it holds whole numbers
        without scaling, else float32. And its affine, float64 [4, 4], voxel to patient millimetres.

    Raises:
        FlapSamError: the file cannot be opened or read to its end, is no NIfTI, is not 3D, has no single real
            number a voxel, holds numbers that are not finite (as float32), or has a voxel size that is not
            positive.
    """
    with _opened(path) as stream:
        start = stream.read(HEADER_BYTES)
        stream.seek(0)
        kind = next((kind for kind in KINDS if kind.header_class.may_contain_header(start)), None)
        if kind is None:
            raise ValueError("it does not start as one" if start else "it is empty")
        _check_header(path, kind.header_class.from_fileobj(io.BytesIO(start), check=False))
        image = kind.from_stream(stream)
        array = _voxels(stream, image.dataobj)
    if array.dtype.kind == "f" and not np.isfinite((array.min(), array.max())).all():  # NaN is both of them
        raise FlapSamError(f"{path} holds numbers that are not finite, or overflow 32 bits; export it again.")
    return array, np.asarray(image.affine, dtype=float)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's uncompressed bytes; what nibabel, gzip and zlib raise inside becomes a FlapSamError."""
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            if not packed:
                yield file
                return
            stream = gzip.GzipFile(fileobj=file)
            yield stream
            while stream.read(PIECE):
                pass
    except FlapSamError:
        raise
    except OSError as problem:
        if problem.errno is None:
            raise _damaged(path, problem) from problem
        raise FlapSamError(
            f"{path} cannot be opened ({problem.strerror}), expected a NIfTI file there; fetch it, or let this "
            "user read it."
        ) from problem
    except Exception as problem:
        raise _damaged(path, problem) from problem


def _damaged(path: Path, problem: Exception) -> FlapSamError:
    return FlapSamError(f"{path} cannot be read as NIfTI ({problem}); it is damaged or truncated, fetch it again.")


def _check_header(path: Path, header: nib.Nifti1Header) -> None:
    shape, dtype, sizes = header.get_data_shape(), header.get_data_dtype(), header["pixdim"][1:4]
    if len(shape) != 3 or min(shape) < 1:
        raise FlapSamError(f"{path} has shape {tuple(shape)}, expected one 3D volume; split or replace it.")
    if dtype.kind not in "iuf":
        raise FlapSamError(f"{path} holds {dtype} voxels, expected one real number each; export it as a grey image.")
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise FlapSamError(
            f"{path} has voxels of {' x '.join(f'{size:g}' for size in sizes)} mm in its header, expected positive "
            "sizes; export it again."
        )


def _voxels(stream: BinaryIO, stored: nib.arrayproxy.ArrayProxy) -> np.ndarray:
    """Read the array piece by piece, so that no second copy of it is ever held."""
    whole = stored.dtype.kind != "f" and (stored.slope, stored.inter) == (1, 0)
    array = np.empty(stored.shape, stored.dtype.newbyteorder("=") if whole else np.float32, order="F")
    voxels = array.reshape(-1, order="F")
    stream.seek(stored.offset)
    for start in range(0, voxels.size, PIECE):
        piece = voxels[start : start + PIECE]
        read = np.frombuffer(stream.read(piece.size * stored.dtype.itemsize), stored.dtype)
        if read.size < piece.size:
            raise EOFError(f"it ends after {start + read.size} of {voxels.size} voxels")
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows shows up as infinity
            piece[:] = read
            if not whole:
                piece *= stored.slope
                piece += stored.inter
    return array
