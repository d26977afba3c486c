"""Dice and surfaces of a network on whole volumes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from flap_sam.data.store import SiteStore
from flap_sam.experiment import Experiment
from flap_sam.means import mean_of_known, spread_of_known
from flap_sam.table import write_table
from flap_sam.training.embeddings import EmbeddingCache
from flap_sam.training.pictures import Gallery
from flap_sam.training.predict import predict_volume
from flap_sam.training.scores import ByClass, CaseScore, Evaluation
from flap_sam.training.surfaces import surface_metrics


def dice(prediction: np.ndarray, truth: np.ndarray, classes: int) -> ByClass:
    """2 |P and T| / (|P| + |T|) of every class but the background, from integer counts."""
    table = np.bincount(
        truth.ravel().astype(np.int64) * (classes + 1) + prediction.ravel(), minlength=(classes + 1) ** 2
    ).reshape(classes + 1, classes + 1)
    both, true, predicted = table.diagonal(), table.sum(1), table.sum(0)
    return tuple(float(2 * both[c] / (true[c] + predicted[c])) if true[c] else None for c in range(1, classes + 1))


def score(
    network: nn.Module,
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
        surfaces: tuple[ByClass, ...] = ()
        if split == "test" and experiment.surface_tolerance:
            surfaces = surface_metrics(
                prediction, truth, experiment.classes, case.spacing, experiment.surface_tolerance
            )
        found = dice(prediction, truth, experiment.classes)
        if gallery:
            gallery.add(store.image(case), truth, prediction, case.spacing, found)
        scores.append(CaseScore(case.id, found, *surfaces))
    return scores


def evaluation(validation: Sequence[CaseScore], test: Sequence[CaseScore], classes: int) -> Evaluation:
    """The cases summed up by class."""
    return Evaluation(
        validation=mean_by_class([s.dice for s in validation], classes),
        validation_cases=len(validation),
        test=mean_by_class([s.dice for s in test], classes),
        test_spread=[spread_of_known(s.dice[c] for s in test) for c in range(classes)],
        test_cases=len(test),
        hausdorff=mean_by_class([s.hausdorff for s in test if s.hausdorff], classes),
        surface_dice=mean_by_class([s.surface_dice for s in test if s.surface_dice], classes),
    )


def mean_by_class(figures: Sequence[ByClass], classes: int) -> list[float | None]:
    """Mean of each class over the cases that have it; None for a class that no case has."""
    return [mean_of_known(by_class[c] for by_class in figures) for c in range(classes)]


def write_cases(path: Path, scores: Sequence[CaseScore]) -> None:
    """The cases one by one as CSV, for the site's own eyes: `case,class,dice,hausdorff_mm,surface_dice`."""
    rows = [
        (s.case, c + 1, value, *(figures[c] if figures else None for figures in (s.hausdorff, s.surface_dice)))
        for s in scores
        for c, value in enumerate(s.dice)
    ]
    write_table(path, ["case", "class", "dice", "hausdorff_mm", "surface_dice"], rows)
