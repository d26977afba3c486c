# SPDX-License-Identifier: Apache-2.0
"""The weighted sum of the sites' weight changes, before any truncation (the paper's equation 2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from flap_sam.lowrank.factors import Factors


@dataclass(frozen=True)
class StackedSum:
    """A change as left @ right, with the sites' factors side by side; exact in float64.

    Args:
        left: [..., d_out, R], right: [..., R, d_in], R the sum of the sites' ranks.
    """

    left: Tensor
    right: Tensor

    def dense(self) -> Tensor:
        """The change itself, [..., d_out, d_in]."""
        return self.left @ self.right

    @cached_property
    def squared_norm(self) -> Tensor:
        """Squared Frobenius norm, [...]."""
        left, right = self.left.mT @ self.left, self.right @ self.right.mT
        return (left * right).sum((-2, -1)).clamp_min(0)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((*self.left.shape[:-1], self.right.shape[-1]))


@dataclass(frozen=True)
class DenseSum:
    """The change itself, [..., d_out, d_in] in float64; its size does not grow with the sites."""

    change: Tensor

    def dense(self) -> Tensor:
        """The change itself, [..., d_out, d_in]."""
        return self.change

    @cached_property
    def squared_norm(self) -> Tensor:
        """Squared Frobenius norm, [...]."""
        return self.change.square().sum((-2, -1))

    @property
    def shape(self) -> torch.Size:
        return self.change.shape


class RunningSum:
    """sum_k w_k Delta W_k / sum_k w_k of same-shaped layers; an update may be dropped once it is added.

    The factors stay side by side until the sites' ranks together reach half the narrower side of the matrix; from
    there on the dense sum is cheaper and does not grow.
    """

    def __init__(self) -> None:
        self._stacked: StackedSum | None = None
        self._dense: Tensor | None = None
        self._weight = 0.0

    def add(self, updates: Sequence[Factors], weights: Sequence[float]) -> None:
        """Count updates in, in the given order, on which the last bits depend.

        Args:
            updates: one a site; ranks and scales may differ, the other shapes may not.
            weights: finite, not negative, one a site.
        """
        if len(updates) != len(weights) or not updates:
            raise ValueError(f"{len(updates)} updates and {len(weights)} weights; one of each a site is needed")
        if any(not (math.isfinite(w) and w >= 0) for w in weights):
            raise ValueError(f"weights are {list(weights)}; they must be finite and not negative")
        self._weight += math.fsum(weights)
        narrow = min(updates[0].B.shape[-2], updates[0].A.shape[-1])
        rank = sum(update.rank for update in updates) + (self._stacked.left.shape[-1] if self._stacked else 0)
        if self._dense is None and 2 * rank < narrow:
            self._stack(updates, weights)
        else:
            self._densify(updates, weights)

    def total(self) -> StackedSum | DenseSum:
        """The weighted mean of the changes so far."""
        if self._dense is not None and self._weight > 0:
            return DenseSum(self._dense / self._weight)
        if self._stacked is not None and self._weight > 0:
            return StackedSum(self._stacked.left / self._weight, self._stacked.right)
        raise ValueError(f"the weights sum to {self._weight}; some update must count")

    def _stack(self, updates: Sequence[Factors], weights: Sequence[float]) -> None:
        left, right = _side_by_side(updates, weights)
        if self._stacked is not None:
            left, right = torch.cat([self._stacked.left, left], -1), torch.cat([self._stacked.right, right], -2)
        self._stacked = StackedSum(left, right)

    def _densify(self, updates: Sequence[Factors], weights: Sequence[float]) -> None:
        """One matrix product a layer for all updates; one layer's factors at a time are brought to float64."""
        if self._dense is None:
            *layers, d_out, _ = updates[0].B.shape
            self._dense = torch.zeros(*layers, d_out, updates[0].A.shape[-1], dtype=torch.float64)
            if self._stacked is not None:
                self._dense += self._stacked.dense()
                self._stacked = None
        flat = self._dense.view(-1, *self._dense.shape[-2:])
        factors = [(u.A.reshape(-1, *u.A.shape[-2:]), u.B.reshape(-1, *u.B.shape[-2:]), u.scale) for u in updates]
        for i in range(len(flat)):
            flat[i].addmm_(*_side_by_side([Factors(A[i], B[i], scale) for A, B, scale in factors], weights))


class RunningAverage:
    """sum_k w_k T_k / sum_k w_k of a plain tensor, in float64 with what each addition rounds off kept beside it.

    So the result, rounded to float32, does not depend on the order of the additions.
    """

    def __init__(self) -> None:
        self._high = self._low = torch.zeros((), dtype=torch.float64)
        self._weight = 0.0

    def add(self, tensor: Tensor, weight: float) -> None:
        """Count a tensor in; float32 times a whole number below 2^29 is exact."""
        term = weight * tensor.double()
        high = self._high + term
        shifted = high - self._high
        self._low = self._low + ((self._high - (high - shifted)) + (term - shifted))  # Knuth's two-sum
        self._high = high
        self._weight += weight

    def mean(self) -> Tensor:
        """The weighted mean so far, float64."""
        if not self._weight > 0:
            raise ValueError(f"the weights sum to {self._weight}; some tensor must count")
        return (self._high + self._low) / self._weight


def _side_by_side(updates: Sequence[Factors], weights: Sequence[float]) -> tuple[Tensor, Tensor]:
    """[..., d_out, R] and [..., R, d_in], float64, whose product is sum_k w_k Delta W_k."""
    scales = torch.tensor([w * u.scale for u, w in zip(updates, weights, strict=True)], dtype=torch.float64)
    left = torch.cat([u.B for u in updates], dim=-1).double()
    left *= scales.repeat_interleave(torch.tensor([u.rank for u in updates]))
    return left, torch.cat([u.A for u in updates], dim=-2).double()
