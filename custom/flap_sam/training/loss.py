"""The paper's loss: 0.2 cross-entropy + 0.8 Dice (section 3.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

CROSS_ENTROPY_SHARE, DICE_SHARE = 0.2, 0.8
SMOOTH = 1e-5


@dataclass(frozen=True)
class Loss:
    """The two parts and their weighted sum, each a scalar."""

    cross_entropy: Tensor
    dice: Tensor
    total: Tensor


def segmentation_loss(logits: Tensor, labels: Tensor) -> Loss:
    """Loss of windows at input resolution.

    Args:
        logits: [b, n, classes + 1, S, S].
        labels: [b, n, S, S], whole numbers, 0 is background.

    The Dice part is 1 - (2 sum p y + s) / (sum p^2 + sum y^2 + s), the sums over the whole batch, averaged
    over the classes and the background. The sums run in float64: in float32 a batch of a few hundred thousand
    pixels loses the fifth digit.
    """
    log_p = logits.flatten(0, 1).log_softmax(dim=1)
    labels = labels.flatten(0, 1)
    cross_entropy = F.nll_loss(log_p, labels)
    dice = _dice_loss(log_p.exp(), labels).to(cross_entropy.dtype)
    return Loss(cross_entropy, dice, CROSS_ENTROPY_SHARE * cross_entropy + DICE_SHARE * dice)


def _dice_loss(p: Tensor, labels: Tensor) -> Tensor:
    classes = p.shape[1]
    pixels = (0, 2, 3)
    y = F.one_hot(labels, classes).movedim(-1, 1)
    overlap = (p * y).sum(pixels, dtype=torch.float64)
    sizes = p.square().sum(pixels, dtype=torch.float64) + torch.bincount(labels.flatten(), minlength=classes)
    return (1 - (2 * overlap + SMOOTH) / (sizes + SMOOTH)).mean()
