# SPDX-License-Identifier: Apache-2.0
"""The one-sided form of low-rank factors: one is orthonormal, so that the other alone says how far a change goes.

Where A is common to all sites, sum_k w_k B_k A = (sum_k w_k B_k) A: the mean of the changes is exact and of rank r. The
next common factor comes of it by an SVD, as in FedSVD (arXiv 2505.12805).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from flap_sam.lowrank.canonical import MARGIN, product_svd
from flap_sam.lowrank.factors import Factors
from flap_sam.lowrank.refactorise import fixed_signs


def one_sided(factors: Factors, fixed: str) -> Factors:
    """The same change, in float64, from B A = U S V^T: B = U S and A = V^T with A fixed, B = U and A = S V^T with B.

    S falls, and in every column of U the entry of largest size is positive. Where S is zero U and V are completed to
    orthonormal vectors, as many as the width has: what trains beside them can use their directions.

    Args:
        fixed: "A" or "B".
    """
    u, s, vh = product_svd(factors, full_matrices=True)
    both = s.shape[-1]
    signed = fixed_signs(u[..., :both], vh[..., :both, :])
    u, vh = torch.cat([signed[0], u[..., both:]], -1), torch.cat([signed[1], vh[..., both:, :]], -2)
    if fixed == "A":
        u = u[..., :both] * s.unsqueeze(-2)
    else:
        vh = s.unsqueeze(-1) * vh[..., :both, :]
    A = F.pad(vh, (0, 0, 0, factors.rank - vh.shape[-2]))
    return Factors(A, F.pad(u, (0, factors.rank - u.shape[-1])), factors.scale)


def departure(fixed: Tensor) -> Tensor:
    """How far the vectors of a fixed factor are from orthonormal, at most: [...], float64.

    Args:
        fixed: [..., n, r], as many columns as its length allows orthonormal, those beyond zero.
    """
    gram = fixed.double().mT @ fixed.double()
    expected = torch.zeros_like(gram)
    expected.diagonal(dim1=-2, dim2=-1)[..., : min(fixed.shape[-2:])] = 1
    return (gram - expected).abs().amax((-2, -1))


def is_orthonormal(fixed: Tensor, dtype: torch.dtype) -> bool:
    """Whether a fixed factor is what `one_sided` gives, up to the rounding of numbers of this type."""
    return bool((departure(fixed) <= MARGIN * torch.finfo(dtype).eps).all())
