"""The best rank-r form of a weight change, split into new adapters (the paper's equation 3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flap_sam.lowrank.aggregate import DenseSum, StackedSum
from flap_sam.lowrank.factors import Factors


@dataclass(frozen=True)
class Refactorised:
    """New adapters and what the truncation cost.

    Args:
        factors: float64, scale * B A is the best approximation of its rank.
        singular_values: [..., q] of the sum, all that are known to differ from zero.
        kept: [...] share of the squared Frobenius norm that the approximation keeps, 1 for a zero change.
        residual: [...] Frobenius norm of what it drops.
    """

    factors: Factors
    singular_values: Tensor
    kept: Tensor
    residual: Tensor


def refactorise(total: StackedSum | DenseSum, rank: int, scale: float) -> Refactorised:
    """Truncated SVD of the sum, with the square root of the singular values on both sides.

    Args:
        total: from `weighted_sum`.
        rank: r of the new factors; shorter spectra are padded with zeros.
        scale: the new adapters' alpha, so that scale * B A is the approximation.
    """
    u, s, vh = _svd(total)
    energy = s.square()
    whole, dropped = energy.sum(-1), energy[..., rank:].sum(-1)
    kept = torch.where(whole > 0, 1 - dropped / whole.clamp_min(torch.finfo(whole.dtype).tiny), 1.0)
    root = (s[..., :rank] / scale).sqrt()
    B, A = u[..., :rank] * root.unsqueeze(-2), root.unsqueeze(-1) * vh[..., :rank, :]
    missing = rank - root.shape[-1]
    if missing > 0:
        B, A = torch.nn.functional.pad(B, (0, missing)), torch.nn.functional.pad(A, (0, 0, 0, missing))
    return Refactorised(Factors(A, B, scale), s, kept, dropped.sqrt())


def _svd(total: StackedSum | DenseSum) -> tuple[Tensor, Tensor, Tensor]:
    """U, S, V^T with signs fixed: in every left vector the entry of largest size is positive."""
    if isinstance(total, DenseSum):
        u, s, vh = torch.linalg.svd(total.change, full_matrices=False)
    else:
        q_left, r_left = torch.linalg.qr(total.left)
        q_right, r_right = torch.linalg.qr(total.right.mT)
        u, s, vh = torch.linalg.svd(r_left @ r_right.mT)
        u, vh = q_left @ u, vh @ q_right.mT
    largest = u.abs().argmax(dim=-2, keepdim=True)
    signs = torch.where(u.gather(-2, largest) < 0, -1.0, 1.0).to(u.dtype)
    return u * signs, s, vh * signs.mT
