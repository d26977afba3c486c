# SPDX-License-Identifier: Apache-2.0
"""What SAM is pretrained with: focal loss and Dice of the masks, and the error of the overlap that it expects."""

import torch
from torch import Tensor
from torch.nn import functional as F

FOCAL_SHARE, DICE_SHARE, OVERLAP_SHARE = 20.0, 1.0, 1.0
FOCUS = 2.0
SMOOTH = 1.0


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """20 focal + 1 Dice: Kirillov et al., "Segment Anything", arXiv 2304.02643, appendix A.

    Args:
        logits: [..., h, w]; target: the share of each pixel that the mask covers, of the same shape.

    Returns:
        [...].
    """
    probability = logits.sigmoid()
    focal = (probability - target).abs() ** FOCUS * F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    both, either = (probability * target).sum((-2, -1)), (probability + target).sum((-2, -1))
    return FOCAL_SHARE * focal.mean((-2, -1)) + DICE_SHARE * (1 - (2 * both + SMOOTH) / (either + SMOOTH))


@torch.no_grad()
def overlap(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of the masks, [...]; 1 where both are empty."""
    found, true = logits > 0, target > 0.5
    both, either = (found & true).sum((-2, -1)), (found | true).sum((-2, -1))
    return torch.where(either > 0, both / either.clamp_min(1), 1.0)


def answer_loss(logits: Tensor, expected: Tensor, target: Tensor, several: bool) -> tuple[Tensor, Tensor]:
    """Loss of the answers to prompts, and which answer counts.

    A single point may mean several things: of the three answers to it only the best one learns. Where more is asked,
    the first answer does.

    Args:
        logits: [n, 4, h, w]; expected: the overlaps that the network expects, [n, 4]; target: [n, h, w].
        several: whether more than a point is asked.

    Returns:
        The mean over the prompts, and the answers' numbers, int64 [n].
    """
    answers = slice(0, 1) if several else slice(1, 4)
    losses = mask_loss(logits[:, answers], target[:, None].expand_as(logits[:, answers]))
    wrong = (expected[:, answers] - overlap(logits[:, answers], target[:, None])).square().mean(1)
    best = losses.detach().argmin(1)
    chosen = losses.gather(1, best[:, None])[:, 0]
    return (chosen + OVERLAP_SHARE * wrong).mean(), best + answers.start
