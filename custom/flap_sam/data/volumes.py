# SPDX-License-Identifier: Apache-2.0
"""Scans and label maps, read from files and turned to store orientation."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from flap_sam.data.geometry import Volume, aligned, by_rows, volume_of
from flap_sam.data.labels import LabelRule
from flap_sam.data.readers.read import read


def read_volume(path: Path, label: bool = False) -> Volume:
    """Read a volume of any kind whole and turn it to store orientation.

    Args:
        path: a file, or a folder with the slices of one DICOM series.
        label: whether it is to be a label map.

    Raises:
        FlapSamError: as `readers.read.read`; or its affine has no orientation.
    """
    return volume_of(path, read(path, label))


def read_pair(
    image_path: Path,
    label_path: Path,
    classes: int,
    any_label: bool = False,
    values: Mapping[int, int] | None = None,
) -> tuple[Volume, np.ndarray]:
    """Read an image and its label map.

    Args:
        classes, any_label, values: as of `LabelRule`.

    Returns:
        The image, with the notes of both, and the labels as uint8 [slices, rows, columns] with values 0 to `classes`.

    Raises:
        FlapSamError: as `read_volume`; or the label lies on another grid than the image; or it holds a number that
            stands for no class.
    """
    image, label = read_volume(image_path), read_volume(label_path, label=True)
    labels = _labels(aligned(label, image), LabelRule(classes, any_label, values))
    return replace(image, notes=image.notes + label.notes), labels


def read_masks(predicted_path: Path, truth_path: Path, classes: int) -> tuple[np.ndarray, np.ndarray, Volume]:
    """Read two label maps of one scan.

    Returns:
        Both as uint8 [slices, rows, columns], and the volume of the truth, with the notes of both.

    Raises:
        FlapSamError: as `read_pair`.
    """
    predicted, truth = read_volume(predicted_path, label=True), read_volume(truth_path, label=True)
    rule = LabelRule(classes)
    found, true = _labels(aligned(predicted, truth), rule), _labels(truth, rule)
    return found, true, replace(truth, notes=predicted.notes + truth.notes)


def _labels(label: Volume, rule: LabelRule) -> np.ndarray:
    try:
        return by_rows(label.array, np.uint8, rule.apply)
    except ValueError as problem:
        raise rule.complaint(label.path, label.array) from problem
