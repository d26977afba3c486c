# SPDX-License-Identifier: Apache-2.0
"""Orthonormal bases of tall matrices."""

import torch
from torch import Tensor

DEPENDENT = 1e-6


def orthonormal(y: Tensor) -> tuple[Tensor, Tensor]:
    """Q and R of y [..., m, n], float64: by Cholesky of the Gram matrix, twice (Yamamoto et al., 2015).

    Householder's way, twice as slow, is taken where some columns nearly depend on others.
    """
    q, r = y, torch.eye(y.shape[-1], dtype=y.dtype)
    for _ in range(2):
        lower, failed = torch.linalg.cholesky_ex(q.mT @ q)
        sizes = lower.diagonal(dim1=-2, dim2=-1)
        if failed.any() or (sizes.amin(-1) < DEPENDENT * sizes.amax(-1)).any():
            return tuple(torch.linalg.qr(y))
        q, r = torch.linalg.solve_triangular(lower.mT, q, upper=True, left=False), lower.mT @ r
    return q, r
