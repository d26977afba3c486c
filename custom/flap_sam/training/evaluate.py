# SPDX-License-Identifier: Apache-2.0
"""Dice and surfaces of a network on whole volumes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from flap_sam.config.experiment import Experiment
from flap_sam.data.geometry import Volume, diagonal, voxel_millilitres
from flap_sam.data.manifest import Case
from flap_sam.data.store import SiteStore
from flap_sam.foundation.means import mean_of_known, spread_of_known
from flap_sam.foundation.table import write_table
from flap_sam.records.pictures import Gallery
from flap_sam.records.scores import (
    FALSE_POSITIVE,
    MISSED,
    SEGMENTED,
    ByClass,
    CaseScore,
    Evaluation,
    Overlap,
)
from flap_sam.sam.network import FlapSam
from flap_sam.training.embeddings import EmbeddingCache
from flap_sam.training.predict import predict_volume
from flap_sam.training.surfaces import surface_metrics

COLUMNS = (
    *("case", "class", "dice", "hausdorff_mm", "surface_dice"),
    *("outcome", "true_ml", "predicted_ml", "false_positive_ml"),
)


def overlaps(prediction: np.ndarray, truth: np.ndarray, classes: int) -> tuple[Overlap, ...]:
    """The voxels of every class but the background, counted."""
    table = np.bincount(
        truth.ravel().astype(np.int64) * (classes + 1) + prediction.ravel(), minlength=(classes + 1) ** 2
    ).reshape(classes + 1, classes + 1)
    counts = zip(table.sum(1), table.sum(0), table.diagonal(), strict=True)
    return tuple(Overlap(*map(int, of_class)) for of_class in counts)[1:]


def compared(
    case: str,
    prediction: np.ndarray,
    truth: np.ndarray,
    classes: int,
    grid: Case | Volume,
    tolerance: float,
) -> CaseScore:
    """The score of a label map beside the true one, both [slices, rows, columns].

    Args:
        grid: says how large voxels are, and the scan.
        tolerance: of the surface Dice, in mm; 0 leaves the surfaces out.
    """
    surfaces: tuple[ByClass, ...] = ()
    if tolerance:
        surfaces = surface_metrics(prediction, truth, classes, grid.spacing, tolerance, diagonal(grid))
    return CaseScore(case, overlaps(prediction, truth, classes), voxel_millilitres(grid.affine), *surfaces)


def score(
    network: FlapSam,
    store: SiteStore,
    split: str,
    experiment: Experiment,
    device: torch.device,
    precision: str,
    cache: EmbeddingCache | None = None,
    gallery: Gallery | None = None,
) -> list[CaseScore]:
    """Every case of a split; the test cases' surfaces too, where the experiment has a tolerance for them.

    Args:
        cache: of the store's embeddings, where the network's image encoder never changes.
        gallery: takes a picture of every case.
    """
    scores = []
    for case in store.cases(split):
        embeddings = cache.of(case).embeddings if cache else None
        prediction = predict_volume(network, store.image(case), experiment, device, precision, embeddings)
        truth = store.label(case)
        tolerance = experiment.surface_tolerance if split == "test" else 0.0
        found = compared(case.id, prediction, truth, experiment.classes, case, tolerance)
        if gallery:
            gallery.add(store.image(case), truth, prediction, case.spacing, found.dice)
        scores.append(found)
    return scores


def evaluation(validation: Sequence[CaseScore], test: Sequence[CaseScore], classes: int) -> Evaluation:
    """The cases summed up by class."""
    return Evaluation(
        validation=mean_by_class([s.dice for s in validation], classes),
        validation_cases=len(validation),
        test=mean_by_class([s.dice for s in test], classes),
        test_spread=[spread_of_known(s.dice[c] for s in test) for c in range(classes)],
        test_with=_counted(test, (SEGMENTED, MISSED), classes),
        test_missed=_counted(test, (MISSED,), classes),
        test_false_positives=_counted(test, (FALSE_POSITIVE,), classes),
        test_cases=len(test),
        hausdorff=mean_by_class([s.hausdorff for s in test if s.hausdorff], classes),
        surface_dice=mean_by_class([s.surface_dice for s in test if s.surface_dice], classes),
    )


def mean_by_class(figures: Sequence[ByClass], classes: int) -> list[float | None]:
    """Mean of each class over the cases that have it; None for a class that no case has."""
    return [mean_of_known(by_class[c] for by_class in figures) for c in range(classes)]


def _counted(scores: Sequence[CaseScore], outcomes: Sequence[str], classes: int) -> list[int | None]:
    return [sum(s.overlaps[c].outcome in outcomes for s in scores) for c in range(classes)]


def write_cases(path: Path, scores: Sequence[CaseScore]) -> None:
    """The cases one by one as CSV, for the site's own eyes; the columns are `COLUMNS`."""
    rows = []
    for s in scores:
        for c, overlap in enumerate(s.overlaps):
            surfaces = [figures[c] if figures else None for figures in (s.hausdorff, s.surface_dice)]
            volumes = [figures[c] for figures in (s.true_ml, s.predicted_ml, s.false_positive_ml)]
            rows.append([s.case, c + 1, overlap.dice, *surfaces, overlap.outcome, *volumes])
    write_table(path, COLUMNS, rows)
