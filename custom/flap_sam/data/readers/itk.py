# SPDX-License-Identifier: Apache-2.0
"""MetaImage and NRRD files, by SimpleITK, and distrusted like `nifti`."""

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flap_sam.data.readers.itk_header import PACKED, RAW, Header, meta_header, nrrd_header
from flap_sam.data.readers.kinds import META, ending
from flap_sam.data.readers.packed import check_unpacked, damaged, opened
from flap_sam.data.readers.raw import TO_RAS, RawVolume, check_shape, finite
from flap_sam.errors import FlapSamError
from flap_sam.foundation.extras import require

if TYPE_CHECKING:
    import SimpleITK


def read_itk(path: Path) -> RawVolume:
    """Read a `.mha`, `.mhd`, `.nrrd` or `.nhdr` file.

    Raises:
        FlapSamError: the file cannot be opened or read to its end, is not one 3D volume or too large a one, has no
            single real number a voxel, holds numbers that are not finite (as float32), or has a header that says what
            cannot be.
    """
    meta = bool(ending(path, META))
    kind = "MetaImage" if meta else "NRRD"
    require("itk", f"{path}, a {kind} file,")
    import SimpleITK

    with opened(path, kind) as stream:
        header = (meta_header if meta else nrrd_header)(path, stream)
    SimpleITK.ProcessObject.GlobalWarningDisplayOff()
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("MetaImageIO" if meta else "NrrdImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _check(path, kind, reader, header)
        image = reader.Execute()
    except RuntimeError as problem:
        raise damaged(path, kind, str(problem).strip().splitlines()[-1]) from problem
    while image.GetDimension() > 3:
        image = image[..., 0]
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine[:3] *= header.millimetres
    array = _scaled(SimpleITK.GetArrayFromImage(image).T, header)
    return RawVolume(finite(path, array), TO_RAS @ affine, tuple(f"{path.name} {note}" for note in header.notes))


def _check(path: Path, kind: str, reader: "SimpleITK.ImageFileReader", header: Header) -> None:
    """Refuse what is no volume, and what unpacks to another length than its header declares, before it is read."""
    import SimpleITK

    voxel = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
    if reader.GetNumberOfComponents() != 1 or "complex" in voxel:
        raise FlapSamError(f"{path} holds {voxel} voxels, expected one real number each; export it as a grey image.")
    shape = check_shape(path, reader.GetSize())
    declared = int(np.prod(shape)) * SimpleITK.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    if header.packing == RAW and (held := header.data.stat().st_size - header.start) < declared:
        raise damaged(path, kind, f"it ends after {held} of {declared} bytes")
    if header.packing == PACKED:
        with header.data.open("rb") as stream:
            stream.seek(header.start)
            try:
                check_unpacked(path, stream, declared)
            except (EOFError, zlib.error) as problem:
                raise damaged(path, kind, problem) from problem


def _scaled(array: np.ndarray, header: Header) -> np.ndarray:
    if array.dtype.kind != "f" and (header.slope, header.inter) == (1, 0):
        return array
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows shows up as infinity
        scaled = array.astype(np.float32)
        scaled *= header.slope
        scaled += header.inter
    return scaled
