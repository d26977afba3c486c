# SPDX-License-Identifier: Apache-2.0
"""Class probabilities and label maps of whole volumes, each view of a slice encoded once.

In this network the slices of a window do not mix: what a window-by-window evaluation finds for a slice is the mean
over the slice's views, each counted for the windows that show it. MA-SAM's slices mix; its volumes are cut into
windows side by side, which go through whole.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from flap_sam.config.experiment import WINDOW_SLICES, Experiment
from flap_sam.data.views import Views
from flap_sam.data.windows import volume_windows
from flap_sam.sam.methods import METHOD_TABLE
from flap_sam.sam.network import FlapSam
from flap_sam.training.precision import autocast

PIXELS_TOGETHER = 2**20  # of the network's grid: 20 slices at 224 px; their activations are about 200 MB in vit_b
VALUES_TOGETHER = 2**23  # on the volume's grid, in float32


def predict_volume(
    network: FlapSam,
    image: np.ndarray,
    experiment: Experiment,
    device: torch.device,
    precision: str,
    embeddings: np.ndarray | None = None,
) -> np.ndarray:
    """Label map of a volume, on its own grid: uint8 [slices, rows, columns], the class of highest probability.

    See `volume_logits` for the arguments.
    """
    found = [labels_of(logits) for logits in volume_logits(network, image, experiment, device, precision, embeddings)]
    return torch.cat(found).numpy()


def labels_of(logits: Tensor) -> Tensor:
    """The class of highest probability, uint8 [k, rows, columns] on the CPU, of logits [k, classes + 1, ...]."""
    return logits.max(dim=1).indices.to(torch.uint8).cpu()  # several times faster than argmax on the CPU


@torch.no_grad()
def volume_logits(
    network: FlapSam,
    image: np.ndarray,
    experiment: Experiment,
    device: torch.device,
    precision: str,
    embeddings: np.ndarray | None = None,
) -> Iterator[Tensor]:
    """Logits of a volume, on its own grid; their softmax is its class probabilities.

    On the network's grid these are, to numerical precision, those of windows of 5 slices centred on every slice,
    averaged over the windows that hold a slice; beyond the volume's ends the edge slice is repeated. From there
    their logarithms are interpolated, which for a single window is to interpolate its logits.

    Args:
        image: codes uint16 [slices, rows, columns], as the store holds them.
        precision: as `precision.settle` gave it.
        embeddings: float32 [views, width, S / 16, S / 16] of the volume's views, where they are known already.

    Yields:
        float32 [k, classes + 1, rows, columns] on the device, the next k slices.
    """
    network.eval()
    if METHOD_TABLE[experiment.method].mixes_slices:
        found = _side_by_side(network, image, experiment, device, precision)
    else:
        found = _by_view(network, image, experiment, device, precision, embeddings)
    for small in found:
        at_once = max(1, VALUES_TOGETHER // (small.shape[1] * image[0].size))
        for few in small.split(at_once):
            yield F.interpolate(few, size=image.shape[1:], mode="bilinear")


@torch.no_grad()
def embed(
    network: FlapSam, views: Views, image_size: int, device: torch.device, precision: str
) -> Iterator[tuple[slice, Tensor]]:
    """Runs of a volume's views and their embeddings, float32 [k, width, S / 16, S / 16] on the device."""
    for run in views.batches(_slices_together(image_size)):
        with autocast(device, precision):
            embeddings = network.encode(views.pictures(run, image_size, device)[None])[0]
        yield run, embeddings.float()


def _by_view(
    network: FlapSam,
    image: np.ndarray,
    experiment: Experiment,
    device: torch.device,
    precision: str,
    known: np.ndarray | None,
) -> Iterator[Tensor]:
    views = Views.of(image, experiment.normalisation)
    shares = torch.from_numpy(views.shares()).to(device)
    if known is None:
        embedded = embed(network, views, experiment.pixels, device, precision)
    else:
        runs = views.batches(_slices_together(experiment.pixels))
        embedded = ((run, torch.from_numpy(np.array(known[run])).to(device)) for run in runs)
    for run, embeddings in embedded:
        with autocast(device, precision):
            logits = network.decode(embeddings[None])[0]
        yield _averaged(logits.float(), views.slices[run], shares[run])


def _averaged(logits: Tensor, slices: np.ndarray, shares: Tensor) -> Tensor:
    """Logits [k, classes + 1, S, S] of k slices whose softmax is the mean over their views, [v, ...] in slice order."""
    distinct, places = np.unique(slices, return_inverse=True)
    if len(distinct) == len(slices):
        return logits
    weighted = logits.softmax(dim=1) * shares[:, None, None, None]
    mean = weighted.new_zeros(len(distinct), *logits.shape[1:])
    mean.index_add_(0, torch.from_numpy(places).to(logits.device), weighted)
    return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()


def _side_by_side(
    network: FlapSam, image: np.ndarray, experiment: Experiment, device: torch.device, precision: str
) -> Iterator[Tensor]:
    windows = volume_windows(image, experiment.pixels, experiment.normalisation)
    at_once = max(1, _slices_together(experiment.pixels) // WINDOW_SLICES)
    while batch := list(itertools.islice(windows, at_once)):
        with autocast(device, precision):
            logits = network(torch.stack([pictures for _, _, pictures in batch]).to(device))
        yield torch.cat([window[:own] for (_, own, _), window in zip(batch, logits.float(), strict=True)])


def _slices_together(image_size: int) -> int:
    return max(1, PIXELS_TOGETHER // image_size**2)
