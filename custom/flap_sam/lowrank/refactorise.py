# SPDX-License-Identifier: Apache-2.0
"""The best rank-r form of a weight change, split into new adapters (the paper's equation 3)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from flap_sam.lowrank.aggregate import DenseSum, StackedSum
from flap_sam.lowrank.factors import Factors
from flap_sam.lowrank.singular import leading_triplets

NOISE = 1e-12
TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Refactorised:
    """New adapters and what the truncation cost.

    Args:
        factors: float64, scale * B A is the best approximation of its rank. A rank that the change does not need,
            or that `energy` does not ask for, is a zero column of B and a zero row of A.
        kept: [...] share of the squared Frobenius norm that the approximation keeps, 1 for a zero change.
        residual: [...] Frobenius norm of what it drops.
    """

    factors: Factors
    kept: Tensor
    residual: Tensor


def refactorise(
    total: StackedSum | DenseSum,
    rank: int,
    scale: float,
    split: str = "balanced",
    energy: float = 1.0,
) -> Refactorised:
    """Truncated SVD U S V^T of the change, split in two.

    Args:
        rank: r of the new factors; shorter spectra are padded with zeros.
        scale: the new adapters' alpha, so that scale * B A is the approximation.
        split: "balanced", the square root of S on both sides; "paper", B = U and A = S V^T, as the paper's code has
            it.
        energy: the smallest rank, up to r, that keeps this share of the squared norm.
    """
    u, s, vh = leading_triplets(total, rank)
    squared_norm = total.squared_norm
    s = torch.where(_needed(s, squared_norm, energy), s, 0.0)
    dropped = (squared_norm - s.square().sum(-1)).clamp_min(0)
    kept = torch.where(squared_norm > 0, 1 - dropped / squared_norm.clamp_min(TINY), 1.0)
    u, vh = fixed_signs(u, vh)
    B, A = _split(u, s / scale, vh, split)
    missing = rank - s.shape[-1]
    if missing > 0:
        B, A = F.pad(B, (0, missing)), F.pad(A, (0, 0, 0, missing))
    return Refactorised(Factors(A, B, scale), kept, dropped.sqrt())


def _needed(s: Tensor, squared_norm: Tensor, energy: float) -> Tensor:
    """Which singular values are more than noise, and needed to keep the share `energy` of the squared norm."""
    real = s > NOISE * s[..., :1]
    if energy == 1:
        return real
    before = s.square().cumsum(-1) - s.square()
    return real & (before < energy * squared_norm.unsqueeze(-1))


def fixed_signs(u: Tensor, vh: Tensor) -> tuple[Tensor, Tensor]:
    """Signs fixed: in every left vector the entry of largest size is positive."""
    largest = u.abs().argmax(dim=-2, keepdim=True)
    signs = torch.where(u.gather(-2, largest) < 0, -1.0, 1.0).to(u.dtype)
    return u * signs, vh * signs.mT


def _split(u: Tensor, s: Tensor, vh: Tensor, split: str) -> tuple[Tensor, Tensor]:
    """B and A with B A = U S V^T."""
    if split == "paper":
        return u * (s > 0).unsqueeze(-2), s.unsqueeze(-1) * vh
    root = s.sqrt()
    return u * root.unsqueeze(-2), root.unsqueeze(-1) * vh
