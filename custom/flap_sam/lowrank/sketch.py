# SPDX-License-Identifier: Apache-2.0
"""A sum of weight changes from two linear sketches of it, as FedASK has it (arXiv 2507.09990).

With Omega [d_in, l] orthonormal and drawn afresh every round, each site can compute its own part of

    Y = sum_k w_k dW_k Omega,    Q = qr(Y),    Z = sum_k w_k dW_k^T Q

and Q Z^T is the sum itself where l is at least its rank, and its projection on the columns of Q otherwise. Both
sketches are linear, so that they can be summed over the sites without any single one being known.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

from flap_sam.lowrank.aggregate import DenseSum, StackedSum
from flap_sam.lowrank.factors import Factors
from flap_sam.lowrank.refactorise import TINY, Refactorised

Change = Factors | StackedSum | DenseSum

SPARE_COLUMNS = 10  # beyond the rank, so that no direction comes out too faint (Halko et al., arXiv 0909.4061)


def drawn_matrix(d_in: int, width: int, seed: int, number: int, layer: str) -> Tensor:
    """Omega of a layer in a round: [d_in, width], orthonormal, float64, the same wherever it is drawn up to rounding.

    Args:
        width: at most `d_in`.
        number: of the round; layer: the path of its adapter.
    """
    place = int.from_bytes(hashlib.sha256(layer.encode()).digest()[:8], "big")
    drawn = np.random.default_rng([seed, number, place]).standard_normal((d_in, width))
    q, r = torch.linalg.qr(torch.from_numpy(drawn))
    signed: Tensor = q * torch.where(r.diagonal() < 0, -1.0, 1.0).double()
    return signed


def most_ranks(total: StackedSum | DenseSum) -> int:
    """The largest rank that a sum of its form and shape can have."""
    narrow = min(total.shape[-2:])
    return min(narrow, total.left.shape[-1]) if isinstance(total, StackedSum) else narrow


def right_sketch(change: Change, omega: Tensor) -> Tensor:
    """dW Omega, [..., d_out, l] in float64; of factors without forming dW."""
    if isinstance(change, DenseSum):
        return change.change @ omega
    left, right = _sides(change)
    return left @ (right @ omega)


def left_sketch(change: Change, basis: Tensor) -> Tensor:
    """dW^T Q, [..., d_in, l] in float64; of factors without forming dW."""
    if isinstance(change, DenseSum):
        return change.change.mT @ basis
    left, right = _sides(change)
    return right.mT @ (left.mT @ basis)


def range_basis(y: Tensor) -> Tensor:
    """Q: orthonormal columns, as many as Y has, whose span holds that of Y."""
    q: Tensor = torch.linalg.qr(y).Q
    return q


def from_sketches(basis: Tensor, z: Tensor) -> StackedSum:
    """Q Z^T."""
    return StackedSum(basis, z.mT)


def measured(result: Refactorised, sketched: StackedSum, total: StackedSum | DenseSum) -> Refactorised:
    """The form of a sketched sum, with what it keeps and drops of the sum itself.

    What the sketch misses and what the truncation drops of it are at right angles.
    """
    norm = total.squared_norm
    dropped = result.residual.square() + (norm - sketched.squared_norm).clamp_min(0)
    kept = torch.where(norm > 0, 1 - dropped / norm.clamp_min(TINY), 1.0)
    return Refactorised(result.factors, kept, dropped.sqrt())


def _sides(change: Factors | StackedSum) -> tuple[Tensor, Tensor]:
    if isinstance(change, StackedSum):
        return change.left, change.right
    return change.scale * change.B.double(), change.A.double()
