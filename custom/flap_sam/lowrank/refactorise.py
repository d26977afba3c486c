"""The best rank-r form of a weight change, split into new adapters (the paper's equation 3)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from flap_sam.lowrank.aggregate import DenseSum, StackedSum
from flap_sam.lowrank.factors import Factors

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
    previous: Factors | None = None,
) -> Refactorised:
    """Truncated SVD U S V^T of the change, split in two.

    Args:
        rank: r of the new factors; shorter spectra are padded with zeros.
        scale: the new adapters' alpha, so that scale * B A is the approximation.
        split: "balanced", the square root of S on both sides; "paper", B = U and A = S V^T, as the paper's code has
            it; "gauge", balanced and then turned, B R and R^T A, as near as an orthogonal R brings them to
            `previous` (orthogonal Procrustes), so that a site's optimizer moments keep their meaning.
        energy: the smallest rank, up to r, that keeps this share of the squared norm.
        previous: the factors that the round started from; without them "gauge" is "balanced".
    """
    basis, change = _compressed(total)
    u, s, vh = _leading(change, rank)
    squared_norm = change.square().sum((-2, -1))
    s = torch.where(_needed(s, squared_norm, energy), s, 0.0)
    residual = torch.linalg.matrix_norm(change - (u * s.unsqueeze(-2)) @ vh)
    kept = torch.where(squared_norm > 0, 1 - residual.square() / squared_norm.clamp_min(TINY), 1.0)
    u, vh = _signed(u if basis is None else basis @ u, vh)
    B, A = _split(u, s / scale, vh, split)
    missing = rank - s.shape[-1]
    if missing > 0:
        B, A = F.pad(B, (0, missing)), F.pad(A, (0, 0, 0, missing))
    if split == "gauge" and previous is not None:
        B, A = _turned(B, A, previous)
    return Refactorised(Factors(A, B, scale), kept, residual)


def _compressed(total: StackedSum | DenseSum) -> tuple[Tensor | None, Tensor]:
    """An orthonormal basis Q and a change M with Q M the sum; dense, the sum itself without a basis."""
    if isinstance(total, DenseSum):
        return None, total.change
    basis, triangle = torch.linalg.qr(total.left)
    return basis, triangle @ total.right


def _leading(change: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The r leading singular triplets [..., m, r], [..., r], [..., r, n] of [..., m, n].

    The leading eigenvectors of M M^T span the left ones; the SVD of M seen in that span, whose size is r, gives all
    three. A component below 1e-8 of the largest singular value, the rounding of a float32 payload, may be lost.
    """
    if change.shape[-2] > change.shape[-1]:
        u, s, vh = _leading(change.mT, rank)
        return vh.mT, s, u.mT
    span = torch.linalg.eigh(change @ change.mT).eigenvectors[..., -rank:]
    u, s, vh = torch.linalg.svd(span.mT @ change, full_matrices=False)
    return span @ u, s, vh


def _needed(s: Tensor, squared_norm: Tensor, energy: float) -> Tensor:
    """Which singular values are more than noise, and needed to keep the share `energy` of the squared norm."""
    real = s > NOISE * s[..., :1]
    if energy == 1:
        return real
    before = s.square().cumsum(-1) - s.square()
    return real & (before < energy * squared_norm.unsqueeze(-1))


def _signed(u: Tensor, vh: Tensor) -> tuple[Tensor, Tensor]:
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


def _turned(B: Tensor, A: Tensor, previous: Factors) -> tuple[Tensor, Tensor]:
    """B R and R^T A with the orthogonal R that brings both nearest to the previous factors."""
    u, _, vh = torch.linalg.svd(B.mT @ previous.B.double() + A @ previous.A.double().mT)
    R = u @ vh
    return B @ R, R.mT @ A
