"""NIfTI volumes in and out of the store orientation.

Store orientation is nibabel's ('S', 'P', 'L'): axis 0 runs from inferior to superior (axial slices),
rows from anterior to posterior, columns from patient right to patient left. It is found from the affine,
never from the order of the array's axes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from flap_sam.data.nifti import read_nifti
from flap_sam.errors import FlapSamError

STORE_AXES = ("S", "P", "L")
AFFINE_TOLERANCE = 1e-3
FLAT = 1e-3

Affine = tuple[tuple[float, ...], ...]


class HasGrid(Protocol):
    """What says on which grid an array of a file lies, as a `Volume` does and a store's `Case`."""

    affine: Affine
    original_shape: tuple[int, int, int]


@dataclass(frozen=True)
class Volume:
    """One scan in store orientation.

    Attributes:
        path: the file it came from.
        array: [slices, rows, columns], finite numbers in the file's own unit; a view, in the file's own order.
        spacing: millimetres between voxel centres, in store axis order.
        affine: 4x4, voxel to patient millimetres of the file's own array.
        original_shape: the shape of the file's own array.
        notes: sentences on what its reader had to guess, for whoever examines the file.
    """

    path: Path
    array: np.ndarray
    spacing: tuple[float, float, float]
    affine: Affine
    original_shape: tuple[int, int, int]
    notes: tuple[str, ...] = ()


def read_volume(path: Path) -> Volume:
    """Read one NIfTI file whole and turn it to store orientation.

    Raises:
        FlapSamError: as `read_nifti`; or its affine has no orientation.
    """
    return volume_of(path, *read_nifti(path))


def volume_of(path: Path, array: np.ndarray, affine: np.ndarray) -> Volume:
    """Turn an array of a file, or of a folder of DICOM slices, to store orientation.

    Args:
        affine: [4, 4], voxel to patient millimetres.

    Raises:
        FlapSamError: the affine has no orientation.
    """
    _check_affine(path, affine)
    to_store = ornt_transform(io_orientation(affine), axcodes2ornt(STORE_AXES))
    spacing = np.empty(3)
    spacing[to_store[:, 0].astype(int)] = np.linalg.norm(affine[:3, :3], axis=0)
    return Volume(
        path=path,
        array=apply_orientation(array, to_store),
        spacing=tuple(spacing.tolist()),
        affine=tuple(map(tuple, affine.tolist())),
        original_shape=array.shape,
    )


def read_pair(image_path: Path, label_path: Path, classes: int, any_label: bool = False) -> tuple[Volume, np.ndarray]:
    """Read an image and its label map.

    Args:
        classes: the number of classes without background.
        any_label: whatever is above 0 in the label map is class 1.

    Returns:
        The image, and the labels as uint8 [slices, rows, columns] with values 0 to `classes`.

    Raises:
        FlapSamError: as `read_volume`; or the label lies on another grid than the image; or it holds
            anything but the whole numbers 0 to `classes`, unless `any_label`.
    """
    image, label = read_volume(image_path), read_volume(label_path)
    _check_same_grid(image, label)
    if any_label:
        return image, by_rows(label.array, np.uint8, lambda row: row > 0)
    return image, _labels(label, classes)


def read_masks(predicted_path: Path, truth_path: Path, classes: int) -> tuple[np.ndarray, np.ndarray, Volume]:
    """Read two label maps of one scan.

    Returns:
        Both as uint8 [slices, rows, columns], and the volume of the truth.

    Raises:
        FlapSamError: as `read_pair`.
    """
    predicted, truth = read_volume(predicted_path), read_volume(truth_path)
    _check_same_grid(truth, predicted)
    return _labels(predicted, classes), _labels(truth, classes), truth


def voxel_millilitres(affine: Affine) -> float:
    """The volume of a voxel, in ml; of a tilted gantry less than its sides would give."""
    return float(abs(np.linalg.det(np.asarray(affine)[:3, :3]))) / 1000


def diagonal(grid: HasGrid) -> float:
    """The diagonal of a scan, in mm, as its own file has it."""
    sides = np.linalg.norm(np.asarray(grid.affine)[:3, :3], axis=0) * grid.original_shape
    return float(np.linalg.norm(sides))


def by_rows(array: np.ndarray, dtype: type, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply `change` to the plane [slices, columns] of every row; the result lies slice after slice in memory.

    Files often keep a voxel beside its neighbours in other slices. Slice by slice, the processor would fetch the
    whole volume once a slice; row by row it fetches it once.

    Args:
        array: [slices, rows, columns] in any memory order.
        dtype: of the result.
    """
    changed = np.empty(array.shape, dtype)
    for row in range(array.shape[1]):
        changed[:, row] = change(array[:, row])
    return changed


def pad_in_plane(array: np.ndarray, side: int) -> np.ndarray:
    """Centre every slice of [slices, rows, columns] in zeros, to at least `side` rows and columns."""
    margins = [((size - own) // 2, (size - own + 1) // 2) for own, size in _padded(array.shape, side)]
    return np.pad(array, margins) if np.any(margins) else array


def to_original(array: np.ndarray, affine: Affine, original_shape: tuple[int, int, int]) -> np.ndarray:
    """Turn an array [slices, rows, columns] in store orientation back to the grid of the original file.

    What `pad_in_plane` added is cut off again.

    Args:
        affine, original_shape: those of the original file, as a `Volume` or a store's `Case` keeps them.

    Raises:
        FlapSamError: the array does not cover that grid.
    """
    back = ornt_transform(axcodes2ornt(STORE_AXES), io_orientation(np.asarray(affine)))
    own_shape = tuple(original_shape[int(axis)] for axis in back[:, 0])
    padded = _padded(own_shape, min(array.shape[1:]))
    if array.shape != tuple(size for _, size in padded):
        raise FlapSamError(
            f"An array of shape {array.shape} does not fit the original grid {tuple(original_shape)}, expected "
            f"{own_shape}; it belongs to another case."
        )
    inside = tuple(slice((size - own) // 2, (size - own) // 2 + own) for own, size in padded)
    return apply_orientation(array[inside], back)


def _padded(shape: tuple[int, int, int], side: int) -> list[tuple[int, int]]:
    """Every axis' own size, and its size once the slices are padded."""
    slices, rows, columns = shape
    return [(slices, slices), (rows, max(rows, side)), (columns, max(columns, side))]


def _check_affine(path: Path, affine: np.ndarray) -> None:
    """Three axes of some length that span a space: 1 is a right angle between them, 0 is flat."""
    axes = affine[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(affine).all() and lengths.all() and abs(np.linalg.det(axes / lengths)) > FLAT):
        raise FlapSamError(f"{path} has the affine {affine.tolist()}, which gives no orientation; export it again.")


def _check_same_grid(image: Volume, label: Volume) -> None:
    if label.original_shape != image.original_shape:
        raise FlapSamError(
            f"{label.path} has shape {label.original_shape}, but {image.path} has shape "
            f"{image.original_shape}; both must lie on one grid."
        )
    distance = np.abs(np.subtract(label.affine, image.affine)).max()
    if distance > AFFINE_TOLERANCE:
        raise FlapSamError(
            f"{label.path} has an affine up to {distance:g} away from that of {image.path}, expected "
            f"at most {AFFINE_TOLERANCE:g}; both must lie on one grid."
        )


def _labels(label: Volume, classes: int) -> np.ndarray:
    _check_labels(label, classes)
    return by_rows(label.array, np.uint8, lambda row: row)


def _check_labels(label: Volume, classes: int) -> None:
    values = label.array
    strange = [value for value in (values.min(), values.max()) if not 0 <= value <= classes]
    if not strange and values.dtype.kind == "f":
        strange = next((row[row % 1 != 0] for row in values.swapaxes(0, 1) if np.any(row % 1)), [])
    if len(strange):
        raise FlapSamError(
            f"{label.path} holds the label {strange[0]:g}, expected only the whole numbers 0 to {classes}; "
            "correct the label map."
        )
