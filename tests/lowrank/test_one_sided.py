# SPDX-License-Identifier: Apache-2.0
"""The one-sided form: the product is kept, one factor is orthonormal, and means beside it are exact."""

import pytest
import torch
from flap_sam.lowrank.factors import Factors
from flap_sam.lowrank.one_sided import departure, is_orthonormal, one_sided
from hypothesis import given
from hypothesis import strategies as st

from tests.lowrank.test_canonical import DTYPES, drawn

shapes = st.tuples(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 30), st.integers(1, 8))
sides = st.sampled_from("AB")


def fixed_of(factors: Factors, side: str) -> torch.Tensor:
    """The fixed factor's vectors as columns."""
    return factors.A.mT if side == "A" else factors.B


@given(shapes, sides, st.integers(0, 8))
def test_the_product_stays_and_one_factor_is_orthonormal(shape, side, alive):
    """Also where the change has fewer directions than the rank, or none, and where the rank exceeds the width."""
    factors = drawn(*shape)
    factors.B[..., alive:] = 0
    found = one_sided(factors, side)
    assert (found.A.shape, found.B.shape, found.scale) == (factors.A.shape, factors.B.shape, factors.scale)
    torch.testing.assert_close(found.change(), factors.change(), rtol=1e-9, atol=1e-12)
    fixed = fixed_of(found, side)
    assert (departure(fixed) < 1e-12).all()
    width = min(fixed.shape[-2:])
    gram = fixed.mT @ fixed
    assert torch.allclose(gram[..., range(width), range(width)], torch.ones(1, dtype=torch.float64)), "none has died"
    moving = found.B if side == "A" else found.A.mT
    torch.testing.assert_close(
        torch.linalg.matrix_norm(moving), torch.linalg.matrix_norm(factors.change()) / factors.scale
    )


@given(shapes, sides)
def test_factors_of_one_product_have_one_form(shape, side):
    """Where every direction lives: the completion of others is arbitrary."""
    seed, d_out, d_in, rank = shape
    factors = drawn(seed, d_out, d_in, min(rank, d_out, d_in))
    mixed = torch.eye(factors.rank, dtype=torch.float64) + 0.3 * torch.ones(factors.rank, factors.rank)
    other = Factors(torch.linalg.inv(mixed) @ factors.A, factors.B @ mixed, factors.scale)
    one, two = one_sided(factors, side), one_sided(other, side)
    s = torch.linalg.svdvals(factors.change())[..., : factors.rank]
    apart = (s[..., :-1] - s[..., 1:]).amin() / s.amax() if factors.rank > 1 else torch.ones(())
    if min(apart, s.amin() / s.amax()) > 1e-3:
        assert torch.allclose(one.A, two.A, atol=1e-6)
        assert torch.allclose(one.B, two.B, atol=1e-6)


@given(shapes, sides, st.lists(st.integers(1, 11_000), min_size=1, max_size=6))
def test_the_mean_beside_a_fixed_factor_is_the_mean_of_the_changes(shape, side, weights):
    seed, d_out, d_in, rank = shape
    common = one_sided(drawn(*shape), side)
    sites = [drawn(seed + k + 1, d_out, d_in, rank) for k in range(len(weights))]
    sites = [Factors(common.A, f.B, 2.0) if side == "A" else Factors(f.A, common.B, 2.0) for f in sites]
    whole = sum(weights)
    exact = sum(w / whole * f.change() for f, w in zip(sites, weights, strict=True))
    A = sum(w / whole * f.A for f, w in zip(sites, weights, strict=True))
    B = sum(w / whole * f.B for f, w in zip(sites, weights, strict=True))
    for following in "AB":
        torch.testing.assert_close(one_sided(Factors(A, B, 2.0), following).change(), exact, rtol=1e-9, atol=1e-12)


@given(shapes)
def test_a_fixed_a_spans_what_it_did_and_a_fixed_b_lets_it_move(shape):
    """rowspace(B A) lies in rowspace(A): under fedsvd A never leaves its first space, under alternate it does."""
    seed, d_out, d_in, rank = shape
    rank = min(rank, d_out, d_in)
    first = one_sided(drawn(seed, d_out, d_in, rank), "A")
    held = one_sided(Factors(first.A, drawn(seed + 1, d_out, d_in, rank).B), "A")
    outside = held.A - (held.A @ first.A.mT) @ first.A
    assert outside.abs().max() < 1e-9
    other_half = one_sided(Factors(first.A, first.B), "B")
    moved = one_sided(Factors(drawn(seed + 2, d_out, d_in, rank).A, other_half.B), "A")
    outside = moved.A - (moved.A @ first.A.mT) @ first.A
    assert (outside.abs().max() > 1e-6) == (rank < d_in), "unless it is the whole space"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", "AB")
def test_what_a_type_rounds_is_orthonormal_in_it_and_what_is_bent_is_not(dtype, side):
    fixed = fixed_of(one_sided(drawn(0, 768, 256, 32), side), side)
    assert is_orthonormal(fixed.to(dtype), dtype)
    for bent in (1.05 * fixed, fixed + 0.05 * fixed.roll(1, -1), 0 * fixed):
        assert not is_orthonormal(bent.to(dtype), dtype)
