# SPDX-License-Identifier: Apache-2.0
"""The canonical form: the product is kept, all else of the factors is gone, and the check tells the two apart."""

import pytest
import torch
from flap_sam.lowrank.canonical import canonical, is_canonical
from flap_sam.lowrank.factors import Factors
from hypothesis import given
from hypothesis import strategies as st

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def drawn(seed: int, d_out: int, d_in: int, rank: int, layers: int = 2, spread: float = 0.1) -> Factors:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return spread * torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Factors(draw(layers, rank, d_in), draw(layers, d_out, rank), 2.0)


def cast(factors: Factors, dtype: torch.dtype) -> Factors:
    return Factors(factors.A.to(dtype), factors.B.to(dtype), factors.scale)


shapes = st.tuples(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 40), st.integers(1, 6))


@given(shapes)
def test_the_product_stays_and_the_form_is_canonical(shape):
    factors = drawn(*shape)
    found = canonical(factors)
    assert torch.allclose(found.change(), factors.change(), rtol=1e-9, atol=1e-12)
    assert found.A.shape == factors.A.shape
    assert found.B.shape == factors.B.shape
    assert is_canonical(found, torch.float32)


@given(shapes)
def test_factors_of_one_product_have_one_form(shape):
    factors = drawn(*shape)
    mixed = torch.eye(factors.rank, dtype=torch.float64) + 0.3 * torch.ones(factors.rank, factors.rank)
    other = Factors(torch.linalg.inv(mixed) @ factors.A, factors.B @ mixed, factors.scale)
    one, two = canonical(factors), canonical(other)
    assert torch.allclose(one.A, two.A, atol=1e-6)
    assert torch.allclose(one.B, two.B, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [1e-4, 0.1, 10.0])
@pytest.mark.parametrize(("d_out", "d_in", "rank"), [(96, 64, 8), (768, 768, 32), (128, 256, 32), (3, 20, 5)])
def test_rounding_to_the_wire_leaves_it_canonical(dtype, spread, d_out, d_in, rank):
    for seed in range(5):
        assert is_canonical(cast(canonical(drawn(seed, d_out, d_in, rank, spread=spread)), dtype), dtype)


@pytest.mark.parametrize("decay", [0.5, 0.05, 1e-3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_so_does_a_spectrum_that_falls_steeply(dtype, decay):
    factors = drawn(0, 60, 50, 8)
    falling = decay ** torch.arange(8.0, dtype=torch.float64)
    steep = canonical(Factors(factors.A * falling.unsqueeze(-1), factors.B, 1.0))
    assert is_canonical(cast(steep, dtype), dtype)


def test_nothing_stays_nothing():
    found = canonical(Factors(torch.randn(4, 9), torch.zeros(7, 4)))
    assert not found.A.any()
    assert not found.B.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "hide",
    [
        lambda f: Factors(torch.ones_like(f.A), torch.zeros_like(f.B)),
        lambda f: Factors(torch.zeros_like(f.A), torch.ones_like(f.B)),
        lambda f: Factors(f.A * 8, f.B / 8),
        lambda f: Factors(-f.A, -f.B),
        lambda f: Factors(f.A.flip(-2), f.B.flip(-1)),
        lambda f: Factors(f.A + 0.05 * torch.rand_like(f.A), f.B),
        lambda f: Factors(_row_added(f.A), f.B),
    ],
    ids=["pixels in A", "pixels in B", "unbalanced", "signs", "order", "noise in A", "a row of A where B has none"],
)
def test_what_hides_in_the_factors_is_found(hide, dtype):
    factors = cast(canonical(drawn(1, 40, 30, 6)), dtype)
    assert is_canonical(factors, dtype)
    assert not is_canonical(hide(factors), dtype)


def _row_added(A: torch.Tensor) -> torch.Tensor:
    A = A.clone()
    A[..., -1, :] *= 1.5
    return A


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-8, 1e-12, 1e-19, 1e-30])
def test_nothing_hides_in_columns_that_the_product_does_not_show(size, dtype):
    """Orthogonal, balanced, falling and positive as the form asks, but lost beside the first column."""

    def with_tail_of(size: float) -> Factors:
        found = canonical(drawn(2, 40, 30, 6))
        found.A[..., 1:, :] *= size
        found.B[..., 1:] *= size
        return cast(found, dtype)

    assert is_canonical(with_tail_of(1e-4), dtype)
    assert is_canonical(with_tail_of(0.0), dtype)
    assert not is_canonical(with_tail_of(size), dtype)
