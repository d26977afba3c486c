# SPDX-License-Identifier: Apache-2.0
"""Weight changes in factored form."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Factors:
    """Delta W = scale * B A of one or of several same-shaped layers at once.

    Args:
        A: [..., r, d_in].
        B: [..., d_out, r], with the same leading axes.
        scale: the adapters' alpha.
    """

    A: Tensor
    B: Tensor
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.A.shape[:-2] != self.B.shape[:-2] or self.A.shape[-2] != self.B.shape[-1]:
            raise ValueError(f"A {list(self.A.shape)} and B {list(self.B.shape)} do not multiply to B A")

    @property
    def rank(self) -> int:
        return self.A.shape[-2]

    def change(self) -> Tensor:
        """Delta W, dense, in float64: [..., d_out, d_in]."""
        return self.scale * (self.B.double() @ self.A.double())

    def sizes(self) -> Tensor:
        """scale ||B|| ||A||, Frobenius norms in float64: [...], at least the norm of the change."""
        b, a = torch.linalg.matrix_norm(self.B.double()), torch.linalg.matrix_norm(self.A.double())
        found: Tensor = abs(self.scale) * b * a
        return found


def leading(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The leading part of a tensor: of A the first rows, of B the first columns, what a site of lower rank takes."""
    return tensor[tuple(slice(size) for size in shape)]


def stack(factors: list[Factors]) -> Factors:
    """Several layers' factors of one shape and scale as one batch."""
    return Factors(torch.stack([f.A for f in factors]), torch.stack([f.B for f in factors]), factors[0].scale)
