"""The paper's loss: 0.2 cross-entropy + 0.8 Dice (section 3.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from flap_sam.training.team import ALONE, Team

CROSS_ENTROPY_SHARE, DICE_SHARE = 0.2, 0.8
SMOOTH = 1e-5


@dataclass(frozen=True)
class Loss:
    """The two parts and their weighted sum, each a scalar."""

    cross_entropy: Tensor
    dice: Tensor
    total: Tensor


def segmentation_loss(logits: Tensor, labels: Tensor, team: Team = ALONE, weight: float = 1.0) -> Loss:
    """Loss of windows at input resolution.

    Args:
        logits: [b, n, classes + 1, S, S].
        labels: [b, n, S, S], whole numbers, 0 is background.
        team: processes that hold parts of one batch; each gets the loss of the whole.
        weight: 0 for windows that are not part of the batch.

    The Dice part is 1 - (2 sum p y + s) / (sum p^2 + sum y^2 + s), the sums over the whole batch, averaged
    over the classes and the background. The sums run in float64: in float32 a batch of a few hundred thousand
    pixels loses the fifth digit.
    """
    log_p = logits.flatten(0, 1).log_softmax(dim=1)
    labels = labels.flatten(0, 1)
    pixels = team.total(torch.tensor(weight * labels.numel(), dtype=torch.float64, device=labels.device))
    cross_entropy = team.total(weight * F.nll_loss(log_p, labels, reduction="sum").double()) / pixels
    cross_entropy = cross_entropy.to(log_p.dtype)
    dice = _dice_loss(log_p.exp(), labels, team, weight).to(log_p.dtype)
    return Loss(cross_entropy, dice, CROSS_ENTROPY_SHARE * cross_entropy + DICE_SHARE * dice)


def _dice_loss(p: Tensor, labels: Tensor, team: Team, weight: float) -> Tensor:
    classes = p.shape[1]
    pixels = (0, 2, 3)
    y = F.one_hot(labels, classes).movedim(-1, 1)
    overlap = (p * y).sum(pixels, dtype=torch.float64)
    sizes = p.square().sum(pixels, dtype=torch.float64) + torch.bincount(labels.flatten(), minlength=classes)
    overlap, sizes = team.total(weight * torch.stack([overlap, sizes])).unbind()
    return (1 - (2 * overlap + SMOOTH) / (sizes + SMOOTH)).mean()
