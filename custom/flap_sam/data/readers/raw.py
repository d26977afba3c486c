# SPDX-License-Identifier: Apache-2.0
"""What every reader gives, and how large a volume it may be."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flap_sam.errors import FlapSamError

MOST_VOXELS = 2**30  # as many as 1024 x 1024 x 1024; whole-body CT has half of it
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's and ITK's axes run to the patient's left and back


@dataclass(frozen=True)
class RawVolume:
    """A volume as it lies in its file.

    Attributes:
        array: 3 axes in the file's own order, finite; whole numbers where the file holds such, else float32.
        affine: float64 [4, 4], voxel to patient millimetres, to the right, front and head.
        notes: sentences about what its header says that was not taken at its word, or that needs a look; each begins
            with the name of the file, without its folder.
    """

    array: np.ndarray
    affine: np.ndarray
    notes: tuple[str, ...] = ()


def check_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The three axes of one volume; axes of length 1 after them are left out.

    Raises:
        FlapSamError: it is not one volume, or one of more than `MOST_VOXELS`: nothing has been unpacked then.
    """
    axes, further = tuple(map(int, shape[:3])), tuple(map(int, shape[3:]))
    if len(axes) < 3 or min(axes) < 1 or any(size != 1 for size in further):
        held = f"{math.prod(further)} volumes" if len(axes) == 3 and min((*axes, *further)) > 0 else "no volume"
        raise FlapSamError(
            f"{path} has shape {(*axes, *further)}, expected one 3D volume: it holds {held}; split or replace it."
        )
    check_voxels(path, math.prod(axes))
    first, second, third = axes
    return first, second, third


def check_voxels(path: Path, count: int) -> None:
    """Raise a FlapSamError where a volume has more than `MOST_VOXELS`."""
    if count > MOST_VOXELS:
        raise FlapSamError(
            f"{path} declares {count} voxels, expected at most {MOST_VOXELS} (as many as 1024 x 1024 x 1024); cut the "
            "volume to the region of interest."
        )


def finite(path: Path, array: np.ndarray) -> np.ndarray:
    """The array unchanged; raises a FlapSamError where it holds a number that is not finite."""
    if array.dtype.kind == "f" and not np.isfinite((array.min(), array.max())).all():  # NaN is both of them
        raise FlapSamError(f"{path} holds numbers that are not finite, or overflow 32 bits; export it again.")
    return array


def size(numbers: np.ndarray) -> str:
    """Numbers as in "1.5 x 1.5 x 3"."""
    return " x ".join(f"{number:g}" for number in numbers)


def farthest(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """How far apart two affines put the corners of a grid, in voxels of the first one, along any axis.

    Raises:
        LinAlgError: the first one is flat.
    """
    corners = np.stack(np.meshgrid(*[(0, size - 1) for size in shape[:3]], [1], indexing="ij")).reshape(4, -1)
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.abs(np.linalg.inv(affine) @ other @ corners - corners).max())
