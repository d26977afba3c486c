# SPDX-License-Identifier: Apache-2.0
"""DICOM series, by pydicom, and distrusted like `nifti`: every slice is taken at its own word, not at the first's."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flap_sam.data.readers.dicom_dataset import quiet, read_dataset
from flap_sam.data.readers.dicom_files import kind_of
from flap_sam.data.readers.dicom_grid import grid
from flap_sam.data.readers.dicom_slices import Slice, slices_of
from flap_sam.data.readers.packed import opened
from flap_sam.data.readers.raw import TO_RAS, RawVolume, check_voxels, finite
from flap_sam.errors import FlapSamError
from flap_sam.foundation.extras import require

if TYPE_CHECKING:
    from pydicom import Dataset

WHOLE = (np.int16, np.int32)


def read_series(files: Sequence[Path]) -> RawVolume:
    """Read one series whole.

    Args:
        files: a file a slice, or files of many frames, in any order.

    Returns:
        The array [columns, rows, slices] in the series' own unit (CT: HU), every slice scaled by its own slope and
        intercept.

    Raises:
        FlapSamError: a file cannot be read; the slices are no grey images or too many; or see `dicom_grid.grid`.
    """
    require("dicom", f"{files[0]}, a DICOM file,")
    stored: dict[tuple[Path, int], np.ndarray] = {}
    slices: list[Slice] = []
    for path in files:
        found, pixels = _read(path, sum(array.size for array in stored.values()))
        slices += found
        stored |= {(path, number): array for number, array in enumerate(pixels)}
    where = files[0].parent
    ordered, affine, notes = grid(where, slices)
    array = _values(ordered, [stored[one.file, one.frame] for one in ordered])
    name = where.resolve().name if len(files) > 1 else files[0].name
    return RawVolume(finite(where, array), TO_RAS @ affine, tuple(f"{name} {note}" for note in notes))


def _read(path: Path, before: int) -> tuple[list[Slice], list[np.ndarray]]:
    """A file's slices, and their stored values [rows, columns]; `before` is how many voxels have been read already."""
    from pydicom.pixels import pixel_array

    with opened(path, "DICOM"), quiet():
        dataset = read_dataset(path)
        if kind := kind_of(dataset):
            raise FlapSamError(f"{path} is no slice of a scan, but: {kind}; choose the folder of the slices.")
        slices = list(slices_of(path, dataset))
        _check_packing(path, dataset)
        if (frames := int(dataset.get("NumberOfFrames") or 1)) != len(slices):
            raise ValueError(f"it has {frames} frames, but describes {len(slices)}")
        check_voxels(path, before + len(slices) * int(dataset.Rows) * int(dataset.Columns))
        pixels = list(pixel_array(dataset, raw=True).reshape(-1, dataset.Rows, dataset.Columns))
    return slices, pixels


def _check_packing(path: Path, dataset: "Dataset") -> None:
    """Raise a FlapSamError where no decoder here unpacks a file's pixels."""
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        readable = get_decoder(syntax).is_available
    except NotImplementedError:
        readable = False
    if not readable:
        raise FlapSamError(f"{path} is packed as {syntax.name}, which is not read here; export it without packing.")


def _values(ordered: Sequence[Slice], stored: Sequence[np.ndarray]) -> np.ndarray:
    """The scaled values [columns, rows, slices]: float32, or int16 or int32 where all are whole and fit."""
    edges = [
        one.slope * float(edge) + one.inter
        for one, array in zip(ordered, stored, strict=True)
        for edge in (array.min(), array.max())
    ]
    whole = all(one.slope.is_integer() and one.inter.is_integer() for one in ordered)
    kinds = WHOLE if whole and all(array.dtype.kind in "iu" for array in stored) else ()
    fits = (kind for kind in kinds if np.iinfo(kind).min <= min(edges) and max(edges) <= np.iinfo(kind).max)
    values = np.empty((len(stored), *stored[0].shape), next(fits, np.float32))
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows shows up as infinity
        for number, (one, array) in enumerate(zip(ordered, stored, strict=True)):
            values[number] = array if (one.slope, one.inter) == (1, 0) else array.astype(float) * one.slope + one.inter
    return values.T
