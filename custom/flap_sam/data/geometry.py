"""NIfTI volumes in and out of the store orientation.

Store orientation is nibabel's ('S', 'P', 'L'): axis 0 runs from inferior to superior (axial slices),
rows from anterior to posterior, columns from patient right to patient left. It is found from the affine,
never from the order of the array's axes.
"""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from flap_sam.errors import FlapSamError

STORE_AXES = ("S", "P", "L")
AFFINE_TOLERANCE = 1e-3

Affine = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Volume:
    """One scan in store orientation.

    Attributes:
        path: the file it came from.
        array: [slices, rows, columns], finite numbers in the file's own unit.
        spacing: millimetres between voxel centres, in store axis order.
        affine: 4x4, voxel to patient millimetres of the file's own array.
        original_shape: the shape of the file's own array.
    """

    path: Path
    array: np.ndarray
    spacing: tuple[float, float, float]
    affine: Affine
    original_shape: tuple[int, int, int]


def read_volume(path: Path) -> Volume:
    """Read one NIfTI file whole and turn it to store orientation.

    Raises:
        FlapSamError: the file is missing, cannot be read to its end, is not 3D, holds values that are not
            finite real numbers, or has an affine without an orientation.
    """
    array, affine = _read(path)
    if array.ndim != 3 or array.size == 0:
        raise FlapSamError(f"{path} has shape {array.shape}, expected one 3D volume; split or replace it.")
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise FlapSamError(f"{path} holds values that are not finite real numbers; export it again.")
    orientation = io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if np.isnan(orientation).any():
        raise FlapSamError(f"{path} has the affine {affine.tolist()}, which gives no orientation; export it again.")
    to_store = ornt_transform(orientation, axcodes2ornt(STORE_AXES))
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = np.empty(3)
    spacing[to_store[:, 0].astype(int)] = sizes
    return Volume(
        path=path,
        array=apply_orientation(array, to_store),
        spacing=tuple(spacing.tolist()),
        affine=tuple(map(tuple, affine.tolist())),
        original_shape=array.shape,
    )


def read_pair(image_path: Path, label_path: Path, classes: int) -> tuple[Volume, np.ndarray]:
    """Read an image and its label map.

    Args:
        classes: the number of classes without background.

    Returns:
        The image, and the labels as uint8 [slices, rows, columns] with values 0 to `classes`.

    Raises:
        FlapSamError: as `read_volume`; or the label lies on another grid than the image; or it holds
            anything but the whole numbers 0 to `classes`.
    """
    image, label = read_volume(image_path), read_volume(label_path)
    if label.original_shape != image.original_shape:
        raise FlapSamError(
            f"{label_path} has shape {label.original_shape}, but its image {image_path} has shape "
            f"{image.original_shape}; every label must lie on its image's grid."
        )
    distance = np.abs(np.subtract(label.affine, image.affine)).max()
    if distance > AFFINE_TOLERANCE:
        raise FlapSamError(
            f"{label_path} has an affine up to {distance:g} away from that of its image {image_path}, expected "
            f"at most {AFFINE_TOLERANCE:g}; every label must lie on its image's grid."
        )
    values = np.unique(label.array)
    strange = values[~np.isin(values, np.arange(classes + 1))]
    if strange.size:
        raise FlapSamError(
            f"{label_path} holds the label {strange[0]:g}, expected only the whole numbers 0 to {classes}; "
            "correct the label map."
        )
    return image, label.array.astype(np.uint8)


def to_original(array: np.ndarray, affine: Affine, original_shape: tuple[int, int, int]) -> np.ndarray:
    """Turn an array [slices, rows, columns] in store orientation back to the grid of the original file.

    Args:
        affine, original_shape: those of the original file, as a `Volume` or a store's `Case` keeps them.

    Raises:
        FlapSamError: the array does not cover that grid.
    """
    orientation = io_orientation(np.asarray(affine))
    original = apply_orientation(array, ornt_transform(axcodes2ornt(STORE_AXES), orientation))
    if original.shape != tuple(original_shape):
        raise FlapSamError(
            f"An array of shape {array.shape} becomes {original.shape} on the original grid, expected "
            f"{tuple(original_shape)}; it belongs to another case."
        )
    return original


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The file's own array and affine."""
    if not path.is_file():
        raise FlapSamError(f"{path} does not exist, expected a NIfTI file there.")
    try:
        image = nib.load(path)
        return np.asanyarray(image.dataobj), np.asarray(image.affine, dtype=float)
    except Exception as problem:  # nibabel, gzip and zlib each have their own errors for a damaged file
        raise FlapSamError(
            f"{path} cannot be read as NIfTI ({problem}); it is damaged or truncated, fetch it again."
        ) from problem
