# SPDX-License-Identifier: Apache-2.0
"""Loss and gradient of one batch: at once, or a window at a time in little memory."""

from collections.abc import Callable

import torch
from torch import Tensor

from flap_sam.training.loss import loss_of, map_sums
from flap_sam.training.team import Team

Forward = Callable[[Tensor], Tensor]


def backward(forward: Forward, images: Tensor, labels: Tensor, team: Team, weight: float) -> Tensor:
    """Add the batch's gradient to that of the parameters.

    Args:
        forward: from images [b, 5, S, S] to float32 logits [b, 5, classes + 1, S, S].
        labels: [b, 5, S, S].
        team, weight: as for `loss.segmentation_loss`.

    Returns:
        The loss of the whole batch, a scalar.
    """
    loss = loss_of(weight * map_sums(forward(images), labels.long()), team).total
    loss.backward()
    return loss.detach()


def backward_by_window(forward: Forward, images: Tensor, labels: Tensor, team: Team, weight: float) -> Tensor:
    """The same, one window in memory at a time.

    The Dice part needs the sums over the batch before any window's gradient is known: a first pass without
    gradients collects them, a second one, with the same random numbers, sends their gradient back.
    """
    if len(images) == 1:
        return backward(forward, images, labels, team, weight)
    windows = list(zip(images.split(1), labels.split(1), strict=True))
    with torch.no_grad(), torch.random.fork_rng([images.get_device()] if images.is_cuda else []):
        first, *others = (map_sums(forward(image), label.long()) for image, label in windows)
        sums = sum(others, first)
    loss = loss_of(weight * sums.requires_grad_(), team).total
    (gradient,) = torch.autograd.grad(loss, sums)
    for image, label in windows:
        # as `.backward(gradient)` of the sums, which would import sympy to compare the shapes
        (map_sums(forward(image), label.long()) * gradient).sum().backward()
    return loss.detach()
