# SPDX-License-Identifier: Apache-2.0
"""A linear probe: how much of a segmentation the embeddings of a frozen image encoder hold already."""

import torch
from flap_sam.config.experiment import WINDOW_SLICES, Experiment
from flap_sam.data.pool import PooledStore
from flap_sam.data.windows import Windows
from flap_sam.pretraining.network import PromptableSam
from flap_sam.sam.build import PATCH
from flap_sam.training.evaluate import mean_by_class, score
from flap_sam.training.step import backward
from flap_sam.training.team import ALONE
from torch import Tensor, nn

SLICES = 32  # a step, and encoded together
RATE = 1e-2


class LinearProbe(nn.Module):
    """One linear layer from a token's embedding, each feature normalised, to the logits of the token's own pixels.

    Called as a `FlapSam` is.
    """

    def __init__(self, network: PromptableSam, classes: int) -> None:
        super().__init__()
        self.encoder, width = network.image_encoder, network.prompt_encoder.embed_dim
        self.head = nn.Sequential(
            nn.BatchNorm2d(width, affine=False),
            nn.Conv2d(width, (classes + 1) * PATCH**2, 1),
            nn.PixelShuffle(PATCH),
        )

    @torch.no_grad()
    def encode(self, windows: Tensor) -> Tensor:
        """Image embeddings [b, n, width, S / 16, S / 16] of windows [b, n, S, S]."""
        return self.encoder(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])

    def decode(self, embeddings: Tensor) -> Tensor:
        """Logits [b, n, classes + 1, S, S] of what `encode` gave."""
        return self.head(embeddings.flatten(0, 1)).unflatten(0, embeddings.shape[:2])


def probed(
    network: PromptableSam, pool: PooledStore, experiment: Experiment, steps: int, seed: int
) -> list[float | None]:
    """Dice of a probe by class, mean over the test cases, after so many steps on the training slices.

    Args:
        experiment: resolved.
        seed: of the probe's first weights, and of the slices' order.
    """
    torch.manual_seed(seed)
    probe = LinearProbe(network, experiment.classes)
    embeddings, labels = _encoded(probe, Windows(pool, experiment.image_size, experiment.normalisation))
    optimizer = torch.optim.AdamW(probe.head.parameters(), RATE)
    for _ in range(steps):
        some = torch.randperm(len(labels))[:SLICES]
        optimizer.zero_grad()
        backward(probe.decode, embeddings[some], labels[some], ALONE, 1.0)
        optimizer.step()
    scores = score(probe, pool, "test", experiment, torch.device("cpu"), "float32")
    return mean_by_class([case.dice for case in scores], experiment.classes)


def _encoded(probe: LinearProbe, windows: Windows) -> tuple[Tensor, Tensor]:
    """Embeddings [slices, 1, width, S / 16, S / 16] and labels [slices, 1, S, S] of every training slice."""
    central, parts = slice(WINDOW_SLICES // 2, WINDOW_SLICES // 2 + 1), []
    for few in torch.arange(len(windows)).split(SLICES):
        images, labels = windows.batch(few)
        parts.append((probe.encode(images[:, central]), labels[:, central]))
    embeddings, labels = zip(*parts, strict=True)
    return torch.cat(embeddings), torch.cat(labels)
