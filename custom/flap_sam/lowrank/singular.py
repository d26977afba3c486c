# SPDX-License-Identifier: Apache-2.0
"""The leading singular triplets of a sum of weight changes: exact to float64's rounding."""

import torch
from torch import Tensor

from flap_sam.lowrank.aggregate import DenseSum, StackedSum
from flap_sam.lowrank.orthonormal import orthonormal

WHOLE = 128
OVERSAMPLING = 8
STANDS = 1e-11
PASSES = 30

Triplets = tuple[Tensor, Tensor, Tensor]


def leading_triplets(total: StackedSum | DenseSum, rank: int) -> Triplets:
    """U [..., m, r], S [..., r] and V^T [..., r, n] of the r largest singular values of the sum [..., m, n].

    Factors side by side are first reduced to the small core between two orthonormal bases. A matrix whose narrower
    side is at most `WHOLE` or twice the sketch is decomposed whole; a larger one is iterated until its subspace stands,
    and decomposed whole if it does not soon. Fewer than r triplets come of a sum that has no more.
    """
    if isinstance(total, StackedSum):
        left, left_core = orthonormal(total.left)
        right, right_core = orthonormal(total.right.mT)
        u, s, vh = leading_triplets(DenseSum(left_core @ right_core.mT), rank)
        return left @ u, s, vh @ right.mT
    narrow = min(total.shape[-2:])
    if narrow <= max(WHOLE, 2 * (rank + OVERSAMPLING)):
        return _whole(total.change, rank)
    *batch, m, n = total.shape
    layers = total.change.reshape(-1, m, n)
    u, s, vh, stands = _iterated(layers, rank)
    for i in (~stands).nonzero().flatten().tolist():
        u[i], s[i], vh[i] = _whole(layers[i], rank)
    return u.reshape(*batch, m, rank), s.reshape(*batch, rank), vh.reshape(*batch, rank, n)


def _iterated(change: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Triplets of [L, m, n] by subspace iteration on a sketch a little wider than r, and which layers' stand.

    Halko et al., arXiv 0909.4061, algorithm 4.4, with a fixed sketch. A layer stands when what is yet to come of the
    movement of its rank-r form, a geometric series, is below `STANDS` of the form. Where values beside the cut are
    nearly equal it does not within `PASSES`.
    """
    drawn = torch.randn(
        change.shape[-1], rank + OVERSAMPLING, generator=torch.Generator().manual_seed(0), dtype=change.dtype
    )
    left, _ = orthonormal(change @ drawn)
    (u, s, vh), right = _refined(change, left, rank)
    stands = torch.zeros(len(change), dtype=torch.bool)
    last: Tensor | None = None
    for _ in range(PASSES - 1):
        before = u
        left, _ = orthonormal(change @ right)
        (u, s, vh), right = _refined(change, left, rank)
        form = u * s.unsqueeze(-2)
        moved = torch.linalg.matrix_norm(form - before @ (before.mT @ form))
        stands |= _remaining(moved, last) <= STANDS * torch.linalg.vector_norm(s, dim=-1)
        if stands.all():
            break
        last = moved
    return u, s, vh, stands


def _refined(change: Tensor, left: Tensor, rank: int) -> tuple[Triplets, Tensor]:
    """Triplets of [L, m, n] within the columns of `left`, and a basis of the right side."""
    right, core = orthonormal(change.mT @ left)
    v, s, uh = torch.linalg.svd(core)
    return (left @ uh.mT[..., :rank], s[..., :rank], (right @ v[..., :rank]).mT), right


def _remaining(moved: Tensor, last: Tensor | None) -> Tensor:
    """What is still to come of a movement that shrinks from pass to pass as it did from the last to this one."""
    if last is None:
        return moved
    shrinks = (moved / last.clamp_min(torch.finfo(moved.dtype).tiny)).clamp_max(1 - 1e-6)
    return moved * torch.maximum(shrinks / (1 - shrinks), torch.ones_like(shrinks))


def _whole(change: Tensor, rank: int) -> Triplets:
    return _first(torch.linalg.svd(change, full_matrices=False), rank)


def _first(triplets: Triplets, rank: int) -> Triplets:
    u, s, vh = triplets
    return u[..., :rank], s[..., :rank], vh[..., :rank, :]
