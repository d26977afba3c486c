# SPDX-License-Identifier: Apache-2.0
"""Volumes in and out of the store orientation; `volumes` reads them.

Store orientation is nibabel's ('S', 'P', 'L'): axis 0 runs from inferior to superior (axial slices),
rows from anterior to posterior, columns from patient right to patient left. It is found from the affine,
never from the order of the array's axes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import DTypeLike

from flap_sam.data.readers.raw import RawVolume, farthest, size
from flap_sam.errors import FlapSamError

STORE_AXES = ("S", "P", "L")
APART = 0.1  # voxels by which the corners of a label map may lie off those of its image
FLAT = 1e-3
SKEWED = 0.5  # degrees off a right angle, from which on it is mentioned
PLAUSIBLE = (0.01, 50.0)  # mm from voxel to voxel

Row = tuple[float, float, float, float]
Affine = tuple[Row, Row, Row, Row]


class HasGrid(Protocol):
    """What says on which grid an array of a file lies, as a `Volume` does and a store's `Case`."""

    @property
    def affine(self) -> Affine: ...

    @property
    def original_shape(self) -> tuple[int, int, int]: ...


@dataclass(frozen=True)
class Volume:
    """One scan in store orientation.

    Attributes:
        path: the file, or the folder of DICOM slices, that it came from.
        array: [slices, rows, columns], finite numbers in the file's own unit; a view, in the file's own order.
        spacing: millimetres between voxel centres, in store axis order.
        affine: 4x4, voxel to patient millimetres of the file's own array.
        original_shape: the shape of the file's own array.
        notes: sentences about what is odd in its header, or was not taken at its word; each begins with the name of
            the file, without its folder.
    """

    path: Path
    array: np.ndarray
    spacing: tuple[float, float, float]
    affine: Affine
    original_shape: tuple[int, int, int]
    notes: tuple[str, ...] = ()

    def stored_affine(self) -> np.ndarray:
        """[4, 4], voxel of `array` to patient millimetres."""
        affine = np.asarray(self.affine)
        return affine @ inv_ornt_aff(_to_store(affine), self.original_shape)


def volume_of(path: Path, raw: RawVolume) -> Volume:
    """Turn what a reader gave to store orientation.

    Raises:
        FlapSamError: its affine has no orientation.
    """
    _check_affine(path, raw.affine)
    to_store = _to_store(raw.affine)
    spacing = np.empty(3)
    spacing[to_store[:, 0].astype(int)] = np.linalg.norm(raw.affine[:3, :3], axis=0)
    slices, rows, columns = spacing.tolist()
    return Volume(
        path=path,
        array=apply_orientation(raw.array, to_store),
        spacing=(slices, rows, columns),
        affine=affine_of(raw.affine),
        original_shape=raw.array.shape,
        notes=(*raw.notes, *(f"{path.name} {note}" for note in _odd_axes(raw.affine))),
    )


def aligned(label: Volume, image: Volume) -> Volume:
    """The label map on the array of its image, whose axes may run otherwise.

    Raises:
        FlapSamError: it does not cover the very voxels of the image.
    """
    onto = np.linalg.inv(image.stored_affine()) @ label.stored_affine()
    turn = io_orientation(onto)
    array = apply_orientation(label.array, turn)
    if array.shape != image.array.shape:
        shapes = label.original_shape, image.original_shape
        found = (
            f"shape {shapes[0]}, but {image.path} has shape {shapes[1]}"
            if shapes[0] != shapes[1]
            else f"an affine whose axes run otherwise than those of {image.path}, but the same shape {shapes[0]}"
        )
        raise FlapSamError(f"{label.path} has {found}; both must lie on one grid.")
    apart = farthest(np.eye(4), onto @ inv_ornt_aff(turn, label.array.shape), array.shape)
    if not apart <= APART:
        raise FlapSamError(
            f"{label.path} has an affine that puts a corner {apart:.3g} voxels away from that of {image.path}, "
            f"expected at most {APART:g}; both must lie on one grid."
        )
    return replace(label, array=array)


def voxel_millilitres(affine: Affine) -> float:
    """The volume of a voxel, in ml; of a tilted gantry less than its sides would give."""
    return float(abs(np.linalg.det(np.asarray(affine)[:3, :3]))) / 1000


def diagonal(grid: HasGrid) -> float:
    """The diagonal of a scan, in mm, as its own file has it."""
    sides = np.linalg.norm(np.asarray(grid.affine)[:3, :3], axis=0) * grid.original_shape
    return float(np.linalg.norm(sides))


def by_rows(array: np.ndarray, dtype: DTypeLike, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply `change` to the plane [slices, columns] of every row; the result lies slice after slice in memory.

    Files often keep a voxel beside its neighbours in other slices. Slice by slice, the processor would fetch the
    whole volume once a slice; row by row it fetches it once.

    Args:
        array: [slices, rows, columns] in any memory order.
        dtype: of the result.
    """
    changed: np.ndarray = np.empty(array.shape, dtype)
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
    slices, rows, columns = (original_shape[int(axis)] for axis in back[:, 0])
    own_shape = slices, rows, columns
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


def affine_of(matrix: np.ndarray) -> Affine:
    """A matrix [4, 4] as a `Volume` keeps it."""
    first, second, third, last = ((a, b, c, d) for a, b, c, d in matrix.tolist())
    return first, second, third, last


def _check_affine(path: Path, affine: np.ndarray) -> None:
    """Three axes of some length that span a space: 1 is a right angle between them, 0 is flat."""
    axes = affine[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(affine).all() and lengths.all() and abs(np.linalg.det(axes / lengths)) > FLAT):
        raise FlapSamError(f"{path} has the affine {affine.tolist()}, which gives no orientation; export it again.")


def _to_store(affine: np.ndarray) -> np.ndarray:
    """nibabel's orientation from an array's own axes to the store's."""
    return ornt_transform(io_orientation(affine), axcodes2ornt(STORE_AXES))


def _odd_axes(affine: np.ndarray) -> Iterator[str]:
    """What is odd about an affine, which volumes in millilitres and distances in millimetres rest on."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (PLAUSIBLE[0] <= lengths.min() and lengths.max() <= PLAUSIBLE[1]):
        yield f"has voxels of {size(lengths)} mm, which no scanner makes; check the unit of its header."
    axes = affine[:3, :3] / lengths
    angles = np.degrees(np.arcsin(np.abs((axes.T @ axes)[np.triu_indices(3, 1)]).clip(0, 1)))
    if angles.max() > SKEWED:
        yield (
            f"has axes {angles.max():.1f} degrees off a right angle, as of a tilted gantry, and is not resampled: "
            "volumes in ml are right, distances in mm are those of upright slices."
        )
