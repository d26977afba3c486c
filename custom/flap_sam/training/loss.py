# SPDX-License-Identifier: Apache-2.0
"""The paper's loss: 0.2 cross-entropy + 0.8 Dice (section 3.2)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flap_sam.training.team import ALONE, Team

CROSS_ENTROPY_SHARE, DICE_SHARE = 0.2, 0.8
SMOOTH = 1e-5


@dataclass(frozen=True)
class Loss:
    """The two parts and their weighted sum, each a scalar."""

    cross_entropy: Tensor
    dice: Tensor
    total: Tensor

    def to(self, dtype: torch.dtype) -> "Loss":
        """The same in another type."""
        return Loss(self.cross_entropy.to(dtype), self.dice.to(dtype), self.total.to(dtype))


def segmentation_loss(logits: Tensor, labels: Tensor, team: Team = ALONE, weight: float = 1.0) -> Loss:
    """Loss of windows at input resolution.

    Args:
        logits: [b, n, classes + 1, S, S].
        labels: [b, n, S, S], whole numbers, 0 is background.
        team: processes that hold parts of one batch; each gets the loss of the whole.
        weight: 0 for windows that are not part of the batch.
    """
    return loss_of(weight * map_sums(logits, labels), team).to(logits.dtype)


def map_sums(logits: Tensor, labels: Tensor) -> Tensor:
    """All that the loss needs to know of some windows; the sums of a batch are those of its parts, added.

    Args:
        logits, labels: as for `segmentation_loss`.

    Returns:
        float64 [4, classes + 1]: by class, with p the probabilities and y one-hot labels, the sums over all pixels
        of -y log p, p y, p^2 and y.
    """
    return _MapSums.apply(logits.flatten(0, 1), labels.flatten(0, 1))


def loss_of(sums: Tensor, team: Team = ALONE) -> Loss:
    """The loss of a batch whose `map_sums` these are.

    The Dice part is 1 - (2 sum p y + s) / (sum p^2 + sum y^2 + s), the sums over the whole batch, averaged
    over the classes and the background.
    """
    surprise, overlap, squares, pixels = team.total(sums)
    cross_entropy = surprise.sum() / pixels.sum()
    dice = (1 - (2 * overlap + SMOOTH) / (squares + pixels + SMOOTH)).mean()
    return Loss(cross_entropy, dice, CROSS_ENTROPY_SHARE * cross_entropy + DICE_SHARE * dice)


class _MapSums(torch.autograd.Function):
    """The sums in one pass over the maps and their gradient in another; of the maps only p is kept.

    Each slice is summed in the maps' own type, in which a slice's pixels are few enough, and the slices in float64.
    """

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, logits: Tensor, labels: Tensor) -> Tensor:
        log_p = logits.log_softmax(dim=1)
        own = log_p.gather(1, labels.unsqueeze(1)).squeeze(1)
        p = log_p.exp_()
        context.save_for_backward(p, labels)
        squares = p.square().sum((2, 3))
        by_class = [labels == c for c in range(p.shape[1])]
        surprise = torch.stack([-torch.where(here, own, 0).sum((1, 2)) for here in by_class], dim=1)
        overlap = torch.stack([torch.where(here, own.exp(), 0).sum((1, 2)) for here in by_class], dim=1)
        pixels = torch.stack([here.sum((1, 2)) for here in by_class], dim=1)
        return torch.stack([t.sum(0, dtype=torch.float64) for t in (surprise, overlap, squares, pixels)])

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """With g = dL/dp by the Dice part, dL/dlogits = p (g - sum g p) + dL/dsurprise (p - y)."""
        p, labels = context.saved_tensors
        surprise, overlap, squares, _ = gradient.to(p.dtype)
        places = labels.unsqueeze(1)
        g = (2 * squares).view(-1, 1, 1) * p
        g.scatter_add_(1, places, overlap[places])
        g -= (g * p).sum(1, keepdim=True)
        g += surprise[places]
        return g.mul_(p).scatter_add_(1, places, -surprise[places]), None
