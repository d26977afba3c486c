# SPDX-License-Identifier: Apache-2.0
"""MA-SAM federated: the averaged changes of all layers become shared factors and cores again."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flap_sam.lowrank.factors import Factors


@dataclass(frozen=True)
class Tucker2:
    """scale * V S_l U in place of the changes T_l, and what that costs; float64.

    Args:
        U: [r, d], rows orthonormal; V: [d, r], columns orthonormal; cores: [L, r, r] hold the size.
        kept: share of the squared norm of all T_l that is kept, 1 for a zero change.
        residual: [L] norm of what is dropped.
    """

    U: Tensor
    V: Tensor
    cores: Tensor
    kept: Tensor
    residual: Tensor


def change_factors(U: Tensor, V: Tensor, cores: Tensor, scale: float) -> Factors:
    """Delta W_l = scale * V S_l U of all layers, as one batch of low-rank pairs B = V, A_l = S_l U."""
    return Factors(cores @ U, V.expand(len(cores), *V.shape), scale)


def tucker2(total: Tensor, rank: int, scale: float) -> Tucker2:
    """Tucker-2 by higher-order SVD: De Lathauwer et al., "A Multilinear Singular Value Decomposition", 2000.

    V spans the leading left, U the leading right singular vectors of all T_l side by side; S_l = V^T T_l U^T / scale.
    Orthonormal U and V let gradients reach the cores even where the change is zero.

    Args:
        total: T [L, d, d], float64.
        rank: r, at most d.
    """
    V = _leading((total @ total.mT).sum(0), rank)
    U = _leading((total.mT @ total).sum(0), rank).mT.contiguous()
    cores = V.mT @ total @ U.mT
    residual = torch.linalg.matrix_norm(total - V @ cores @ U)
    whole = total.square().sum()
    kept = 1 - residual.square().sum() / whole if whole > 0 else torch.ones((), dtype=total.dtype)
    return Tucker2(U, V, cores / scale, kept, residual)


def _leading(gram: Tensor, rank: int) -> Tensor:
    """Eigenvectors [d, r] of the largest eigenvalues, in every one the entry of largest size positive."""
    vectors: Tensor = torch.linalg.eigh(gram).eigenvectors[:, -rank:].flip(-1)
    largest = vectors.abs().argmax(dim=0, keepdim=True)
    return vectors * torch.where(vectors.gather(0, largest) < 0, -1.0, 1.0).to(vectors.dtype)
