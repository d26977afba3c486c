# SPDX-License-Identifier: Apache-2.0
"""Several processes of one site that take every step together, each on its part of the windows."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Team:
    """One process of `size`; all of them see the same batches in the same order."""

    rank: int = 0
    size: int = 1

    def part(self, windows: int) -> tuple[slice, float]:
        """The own part of a batch, and its weight; a process that is left without a window takes one at weight 0."""
        return (slice(self.rank, None, self.size), 1.0) if self.rank < windows else (slice(0, 1), 0.0)

    def total(self, own: Tensor) -> Tensor:
        """Sum over the processes, whose gradient goes into the own share alone."""
        if self.size == 1:
            return own
        everyone = own.detach().clone()
        distributed.all_reduce(everyone)
        return own + (everyone - own.detach())

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients of all processes: with `total` in the loss, the gradient of the whole batch."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))


ALONE = Team()
