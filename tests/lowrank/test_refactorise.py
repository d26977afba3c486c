# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.lowrank.aggregate import DenseSum
from flap_sam.lowrank.factors import Factors
from flap_sam.lowrank.refactorise import refactorise
from hypothesis import given
from hypothesis import strategies as st

from tests.lowrank.test_aggregate import drawn, total_of


@given(
    d_out=st.integers(3, 30),
    d_in=st.integers(3, 30),
    site_rank=st.integers(1, 6),
    sites=st.integers(1, 4),
    rank=st.integers(1, 12),
    scale=st.floats(0.25, 4),
    split=st.sampled_from(["balanced", "paper"]),
)
def test_the_new_factors_are_the_best_of_their_rank(d_out, d_in, site_rank, sites, rank, scale, split):
    total = total_of([drawn(k, d_out, d_in, site_rank) for k in range(sites)], [1] * sites)
    result = refactorise(total, rank, scale, split)
    exact = total.dense()
    singular = torch.linalg.svdvals(exact)
    error = torch.linalg.norm(exact - result.factors.change())
    optimum = singular[rank:].square().sum().sqrt()
    assert error <= optimum * (1 + 1e-6) + 1e-9 * singular[0]
    assert result.factors.A.shape == (rank, d_in)
    assert result.factors.B.shape == (d_out, rank)
    torch.testing.assert_close(result.residual, optimum, rtol=1e-6, atol=1e-7 * singular[0].item())
    torch.testing.assert_close(result.kept, 1 - optimum**2 / singular.square().sum(), rtol=1e-6, atol=1e-9)


def test_alone_at_weight_one_a_site_gets_its_own_change_back():
    own = drawn(0, 20, 90, 4, scale=0.5)
    back = refactorise(total_of([own], [1.0]), 4, 0.5)
    torch.testing.assert_close(back.factors.change(), own.change(), rtol=1e-12, atol=1e-12)
    assert back.kept.item() == pytest.approx(1)


def spectrum(values: torch.Tensor, d_out: int, d_in: int) -> DenseSum:
    generator = torch.Generator().manual_seed(1)
    u, _ = torch.linalg.qr(torch.randn(d_out, len(values), generator=generator, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(d_in, len(values), generator=generator, dtype=torch.float64))
    return DenseSum((u * values) @ v.mT)


def test_a_spectrum_over_many_decades_is_kept():
    total = spectrum(10.0 ** -torch.arange(11, dtype=torch.float64), 40, 60)
    back = refactorise(total, 11, 1.0)
    assert torch.linalg.matrix_norm(back.factors.change() - total.change) < 1e-11


@pytest.mark.parametrize(
    "values",
    [
        torch.ones(60),
        1 / torch.arange(1, 61),
        torch.linspace(1, 0.9, 60),
        torch.cat([torch.ones(5), torch.full((55,), 0.99)]),
    ],
    ids=["flat", "slow", "slower", "a small step"],
)
def test_spectra_without_a_gap_come_out_as_good_as_the_optimum(values):
    """The error, not the factors: where singular values are equal many are best."""
    values = values.double()
    total = spectrum(values, 90, 70)
    error = torch.linalg.matrix_norm(total.change - refactorise(total, 5, 1.0).factors.change())
    optimum = values[5:].square().sum().sqrt()
    assert error <= optimum * (1 + 1e-6)


def test_a_site_at_weight_zero_is_not_there():
    one, other = drawn(0, 20, 90, 4), drawn(1, 20, 90, 4)
    alone = refactorise(total_of([one], [1.0]), 4, 1.0).factors.change()
    together = refactorise(total_of([one, other], [1.0, 0.0]), 4, 1.0).factors.change()
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_stacked_and_dense_give_the_same_factors():
    total = total_of([drawn(k, 24, 60, 2) for k in range(3)], [2, 3, 5])
    stacked, dense = refactorise(total, 4, 1.0), refactorise(DenseSum(total.dense()), 4, 1.0)
    torch.testing.assert_close(stacked.factors.A, dense.factors.A, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(stacked.factors.B, dense.factors.B, rtol=1e-8, atol=1e-8)


def test_where_each_split_puts_the_size():
    total = total_of([drawn(0, 20, 90, 4)], [1.0])
    balanced, paper = refactorise(total, 4, 2.0).factors, refactorise(total, 4, 2.0, "paper").factors
    torch.testing.assert_close(balanced.A.norm(dim=1), balanced.B.norm(dim=0))
    torch.testing.assert_close(paper.B.mT @ paper.B, torch.eye(4, dtype=torch.float64))


@given(energy=st.floats(0.05, 0.999), rank=st.integers(1, 8))
def test_the_energy_asks_for_the_smallest_rank_that_keeps_it(energy, rank):
    total = total_of([stacked(), stacked()], [1, 1])
    result = refactorise(total, rank, 1.0, energy=energy)
    for i, change in enumerate(total.dense()):
        shares = torch.linalg.svdvals(change).square()
        shares = (shares / shares.sum()).cumsum(0)
        needed = min(rank, int((shares < energy).sum()) + 1)
        alive = result.factors.A[i].abs().sum(1) > 0
        assert alive.tolist() == [k < needed for k in range(rank)]
        assert ((result.factors.B[i].abs().sum(0) > 0) == alive).all(), "both sides of a direction, or neither"


def stacked() -> Factors:
    layers = [drawn(k, 9, 11, 8) for k in range(3)]
    return Factors(torch.stack([f.A for f in layers]), torch.stack([f.B for f in layers]))


def test_a_rank_that_is_not_needed_comes_as_exact_zeros():
    result = refactorise(total_of([drawn(0, 20, 30, 2)], [1.0]), 5, 1.0)
    assert not result.factors.A[2:].any()
    assert not result.factors.B[:, 2:].any()
    assert result.factors.A[:2].any(dim=1).all()


def test_no_change_stays_no_change():
    nothing = Factors(torch.zeros(3, 50), torch.zeros(40, 3))
    for split in ("balanced", "paper"):
        result = refactorise(total_of([nothing, nothing], [1, 1]), 3, 1.0, split)
        assert not result.factors.change().any()
        assert (result.kept.item(), result.residual.item()) == (1.0, 0.0)
