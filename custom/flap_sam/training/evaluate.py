"""Dice of a network on whole volumes: every case is put back together from its windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flap_sam.data.store import SiteStore
from flap_sam.data.windows import volume_windows
from flap_sam.experiment import Experiment
from flap_sam.means import mean_of_known
from flap_sam.training.trainer import autocast


@dataclass(frozen=True)
class CaseScore:
    """Dice of one case by class, background left out; None where the truth has no voxel of the class."""

    case: str
    dice: tuple[float | None, ...]


@torch.no_grad()
def predict_volume(
    network: nn.Module, image: np.ndarray, experiment: Experiment, device: torch.device, precision: str
) -> np.ndarray:
    """Label map of a volume, on its own grid.

    Args:
        image: [slices, rows, columns] as the store holds it.

    Returns:
        uint8 [slices, rows, columns]. Logits, not labels, are brought from the network's grid to the volume's.
    """
    network.eval()
    labels = np.zeros(image.shape, np.uint8)
    batch: list[tuple[int, int, Tensor]] = []
    windows = volume_windows(image, experiment.image_size, experiment.normalisation)
    for window in windows:
        batch.append(window)
        if len(batch) == experiment.batch_size:
            _label(network, batch, labels, device, precision)
            batch = []
    if batch:
        _label(network, batch, labels, device, precision)
    return labels


def _label(
    network: nn.Module, batch: list[tuple[int, int, Tensor]], labels: np.ndarray, device: torch.device, precision: str
) -> None:
    with autocast(device, precision):
        logits = network(torch.stack([images for _, _, images in batch]).to(device))
    for (start, valid, _), window in zip(batch, logits.float(), strict=True):
        full = F.interpolate(window[:valid], size=labels.shape[1:], mode="bilinear")
        labels[start : start + valid] = full.argmax(dim=1).to(torch.uint8).cpu().numpy()


def dice(prediction: np.ndarray, truth: np.ndarray, classes: int) -> tuple[float | None, ...]:
    """2 |P and T| / (|P| + |T|) of every class but the background, from integer counts."""
    table = np.bincount(
        truth.ravel().astype(np.int64) * (classes + 1) + prediction.ravel(), minlength=(classes + 1) ** 2
    ).reshape(classes + 1, classes + 1)
    both, true, predicted = table.diagonal(), table.sum(1), table.sum(0)
    return tuple(float(2 * both[c] / (true[c] + predicted[c])) if true[c] else None for c in range(1, classes + 1))


def score(
    network: nn.Module, store: SiteStore, split: str, experiment: Experiment, device: torch.device, precision: str
) -> list[CaseScore]:
    """Dice of every case of a split."""
    scores = []
    for case in store.cases(split):
        prediction = predict_volume(network, store.image(case), experiment, device, precision)
        scores.append(CaseScore(case.id, dice(prediction, store.label(case), experiment.classes)))
    return scores


def mean_by_class(scores: Sequence[CaseScore], classes: int) -> list[float | None]:
    """Mean Dice of each class over the cases that have it; None for a class that no case has."""
    return [mean_of_known(s.dice[c] for s in scores) for c in range(classes)]
