# SPDX-License-Identifier: Apache-2.0
"""The canonical form of low-rank factors: of all B and A with one product, the pair that says nothing but the product.

Without it, factors can carry what their product does not: with B = 0 anything may stand in A.
"""

import math

import torch
from torch import Tensor

from flap_sam.lowrank.factors import Factors
from flap_sam.lowrank.refactorise import NOISE, fixed_signs

MARGIN = 4.0


def product_svd(factors: Factors, full_matrices: bool) -> tuple[Tensor, Tensor, Tensor]:
    """U, S and V^T of B A, in float64, without forming it; singular values that are rounding are zero.

    Args:
        full_matrices: as for `torch.linalg.svd`, of the core between the bases of B's columns and A's rows.
    """
    left, b = torch.linalg.qr(factors.B.double())
    right, a = torch.linalg.qr(factors.A.double().mT)
    u, s, vh = torch.linalg.svd(b @ a.mT, full_matrices=full_matrices)
    return left @ u, torch.where(s > NOISE * s[..., :1], s, 0.0), vh @ right.mT


def canonical(factors: Factors) -> Factors:
    """The same change with B = U sqrt(S) and A = sqrt(S) V^T of B A = U S V^T, in float64.

    S falls, and in every column of U the entry of largest size is positive. Singular values that are rounding become
    zero columns of B and zero rows of A.
    """
    u, s, vh = product_svd(factors, full_matrices=False)
    u, vh = fixed_signs(u, vh)
    root = s.sqrt()
    missing = factors.rank - root.shape[-1]
    B, A = u * root.unsqueeze(-2), root.unsqueeze(-1) * vh
    return Factors(
        torch.nn.functional.pad(A, (0, 0, 0, missing)), torch.nn.functional.pad(B, (0, missing)), factors.scale
    )


def is_canonical(factors: Factors, dtype: torch.dtype) -> bool:
    """Whether the factors are in canonical form, up to the rounding of numbers of this type.

    B^T B and A A^T are one falling diagonal, whose entries are zero where they are rounding of the first, and the
    largest entry of every column of B is positive.
    """
    B, A = factors.B.double(), factors.A.double()
    b, a = B.norm(dim=-2), A.norm(dim=-1)
    b_error, a_error = _rounding(b, B.shape[-2], dtype), _rounding(a, A.shape[-1], dtype)
    first = (a * b).amax(dim=-1, keepdim=True)
    counts = (a + a_error) * (b + b_error) >= NOISE * first
    zero = (a <= _rounding(0 * a, A.shape[-1], dtype)) & (b <= _rounding(0 * b, B.shape[-2], dtype))
    return bool(
        _is_diagonal(B.mT @ B, b, b_error)
        and _is_diagonal(A @ A.mT, a, a_error)
        and ((a - b).abs() <= a_error + b_error).all()
        and (b[..., 1:] - b[..., :-1] <= b_error[..., 1:] + b_error[..., :-1]).all()
        and (B.amax(dim=-2) >= -B.amin(dim=-2)).all()
        and (counts | zero).all()  # what stands far below the first is lost in the product, which must say it all
    )


def _rounding(norms: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """How far rounding to the type may move vectors of these norms and this length."""
    kind = torch.finfo(dtype)
    return MARGIN * (kind.eps * norms + kind.smallest_normal * kind.eps * math.sqrt(length))


def _is_diagonal(gram: Tensor, norms: Tensor, error: Tensor) -> Tensor:
    """Whether the products of different vectors are rounding."""
    n, e = norms.unsqueeze(-1), error.unsqueeze(-1)
    allowed = n * e.mT + e * n.mT + e * e.mT
    off = gram - torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))
    return (off.abs() <= allowed).all()
