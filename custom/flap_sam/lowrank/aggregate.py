"""The weighted sum of the sites' weight changes, before any truncation (the paper's equation 2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flap_sam.lowrank.factors import Factors


@dataclass(frozen=True)
class StackedSum:
    """sum_k w_k Delta W_k = left @ right, with the sites' factors side by side; exact in float64.

    Args:
        left: [..., d_out, R], right: [..., R, d_in], R the sum of the sites' ranks.
    """

    left: Tensor
    right: Tensor


@dataclass(frozen=True)
class DenseSum:
    """sum_k w_k Delta W_k itself, [..., d_out, d_in] in float64; its size does not grow with the sites."""

    change: Tensor


def weighted_sum(updates: Sequence[Factors], weights: Sequence[float]) -> StackedSum | DenseSum:
    """The sites' changes, weighted and summed in the given order; the cheaper of the two forms.

    Stacked factors are thinner until the sites' ranks together reach half the narrower side of the matrix.

    Args:
        updates: one a site; ranks and scales may differ, the other shapes may not.
        weights: not negative, one a site.
    """
    if len(updates) != len(weights) or not updates:
        raise ValueError(f"{len(updates)} updates and {len(weights)} weights; one of each a site is needed")
    if any(not (math.isfinite(w) and w >= 0) for w in weights):
        raise ValueError(f"weights are {list(weights)}; they must be finite and not negative")
    narrow = min(updates[0].B.shape[-2], updates[0].A.shape[-1])
    if 2 * sum(update.rank for update in updates) < narrow:
        shares = [math.sqrt(w * u.scale) for u, w in zip(updates, weights, strict=True)]
        left = torch.cat([s * u.B.double() for u, s in zip(updates, shares, strict=True)], dim=-1)
        right = torch.cat([s * u.A.double() for u, s in zip(updates, shares, strict=True)], dim=-2)
        return StackedSum(left, right)
    return DenseSum(sum(w * u.change() for u, w in zip(updates, weights, strict=True)))


def weighted_average(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """sum_k w_k T_k in the given order, in float64, returned in the tensors' own type."""
    total = sum(w * t.double() for t, w in zip(tensors, weights, strict=True))
    return total.to(tensors[0].dtype)
