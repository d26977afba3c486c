# SPDX-License-Identifier: Apache-2.0
"""How far a predicted organ's surface lies from the true one: Hausdorff 95 and surface Dice, by MONAI."""

import warnings

import numpy as np
import torch

from flap_sam.records.scores import ByClass

PERCENTILE = 95


def surface_metrics(
    prediction: np.ndarray,
    truth: np.ndarray,
    classes: int,
    spacing: tuple[float, float, float],
    tolerance: float,
    missed: float,
) -> tuple[ByClass, ByClass]:
    """Hausdorff 95 in mm, and the surface Dice at a tolerance: Nikolov et al., arXiv 1809.04430.

    Args:
        prediction, truth: labels [slices, rows, columns].
        spacing: mm, in the order of the axes; tolerance: mm.
        missed: mm, the Hausdorff 95 of an organ of which nothing was found, so that missing one is worse in the mean
            than finding it badly. `compared` takes the scan's diagonal.

    Returns:
        Each by class, background left out. None where the truth has no voxel of the class; where the prediction
        alone has none, the distance is `missed` and the surface Dice is 0.
    """
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice  # its import takes seconds

    hausdorff: list[float | None] = []
    surface_dice: list[float | None] = []
    for number in range(1, classes + 1):
        true, predicted = truth == number, prediction == number
        if not true.any():
            hausdorff.append(None)
            surface_dice.append(None)
            continue
        if not predicted.any():
            hausdorff.append(missed)
            surface_dice.append(0.0)
            continue
        found, wanted = (torch.from_numpy(mask)[None, None] for mask in _cropped(predicted, true))
        mm = list(spacing)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "monai.metrics.utils get_mask_edges", FutureWarning)  # MONAI's own call
            distance = compute_hausdorff_distance(found, wanted, True, percentile=PERCENTILE, spacing=mm)
            within = compute_surface_dice(found, wanted, [tolerance], True, spacing=mm)
        hausdorff.append(distance.item())
        surface_dice.append(within.item())
    return tuple(hausdorff), tuple(surface_dice)


def _cropped(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks within the box around either, with a margin of one voxel: no distance changes."""
    either = predicted | true
    box = []
    for axis in range(either.ndim):
        along = np.flatnonzero(either.any(axis=tuple(a for a in range(either.ndim) if a != axis)))
        box.append(slice(along[0], along[-1] + 1))
    return np.pad(predicted[tuple(box)], 1), np.pad(true[tuple(box)], 1)
