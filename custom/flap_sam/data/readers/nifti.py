# SPDX-License-Identifier: Apache-2.0
"""NIfTI files, read whole and distrusted: whatever is wrong with one ends in a sentence that names it."""

from io import BufferedIOBase
from pathlib import Path

import numpy as np

from flap_sam.data.readers.nifti_header import HEADER_BYTES, Header, parse
from flap_sam.data.readers.packed import PIECE, check_declared, opened
from flap_sam.data.readers.raw import RawVolume, finite
from flap_sam.errors import FlapSamError


def read_nifti(path: Path, label: bool = False) -> RawVolume:
    """Read a `.nii`, `.nii.gz` or `.hdr` with `.img` to its last byte, which is where gzip keeps its checksum.

    Args:
        label: whether the file is to hold a label map.

    Returns:
        The volume, scaled as its header says, placed by its sform, else its qform.

    Raises:
        FlapSamError: the file cannot be opened or read to its end, is no NIfTI, is not one 3D volume or too large a
            one, has no single real number a voxel, holds numbers that are not finite (as float32), or has a header
            that says what cannot be.
    """
    with opened(path, "NIfTI") as stream:
        header = parse(path, stream.read(HEADER_BYTES), label)
        voxels = path if path.suffix.lower() != ".hdr" else _other_half(path)
        check_declared(voxels, "NIfTI", header.offset + int(np.prod(header.shape)) * header.dtype.itemsize)
        if voxels == path:
            array = _voxels(stream, header)
    if voxels != path:
        with opened(voxels, "NIfTI") as stream:
            array = _voxels(stream, header)
    return RawVolume(finite(path, array), header.affine, header.notes)


def _other_half(path: Path) -> Path:
    for ending in (".img", ".IMG"):
        if (other := path.with_suffix(ending)).is_file():
            return other
    raise FlapSamError(f"{path} has no {path.with_suffix('.img').name} beside it, which holds its voxels; fetch it.")


def _voxels(stream: BufferedIOBase, header: Header) -> np.ndarray:
    """Read the array piece by piece, so that no second copy of it is ever held."""
    whole = header.dtype.kind != "f" and (header.slope, header.inter) == (1, 0)
    array = np.empty(header.shape, header.dtype.newbyteorder("=") if whole else np.float32, order="F")
    voxels = array.reshape(-1, order="F")
    stream.seek(header.offset)
    for start in range(0, voxels.size, PIECE):
        piece = voxels[start : start + PIECE]
        read = np.frombuffer(stream.read(piece.size * header.dtype.itemsize), header.dtype)
        if read.size < piece.size:
            raise EOFError(f"it ends after {start + read.size} of {voxels.size} voxels")
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows shows up as infinity
            piece[:] = read
            if not whole:
                piece *= header.slope
                piece += header.inter
    return array
