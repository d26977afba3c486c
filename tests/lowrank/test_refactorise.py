import pytest
import torch
from flap_sam.lowrank.aggregate import DenseSum, weighted_sum
from flap_sam.lowrank.factors import Factors
from flap_sam.lowrank.refactorise import refactorise
from hypothesis import given
from hypothesis import strategies as st

from tests.lowrank.test_aggregate import drawn, whole


@given(
    d_out=st.integers(3, 30),
    d_in=st.integers(3, 30),
    site_rank=st.integers(1, 6),
    sites=st.integers(1, 4),
    rank=st.integers(1, 12),
    scale=st.floats(0.25, 4),
)
def test_the_new_factors_are_the_best_of_their_rank(d_out, d_in, site_rank, sites, rank, scale):
    total = weighted_sum([drawn(k, d_out, d_in, site_rank) for k in range(sites)], [1 / sites] * sites)
    result = refactorise(total, rank, scale)
    exact = whole(total)
    singular = torch.linalg.svdvals(exact)
    error = torch.linalg.norm(exact - result.factors.change())
    optimum = singular[rank:].square().sum().sqrt()
    assert error <= optimum + 1e-9 * singular[0]
    assert result.factors.A.shape == (rank, d_in)
    assert result.factors.B.shape == (d_out, rank)
    torch.testing.assert_close(result.residual, optimum, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(result.kept, 1 - optimum**2 / singular.square().sum(), rtol=1e-6, atol=1e-9)


def test_alone_at_weight_one_a_site_gets_its_own_change_back():
    own = drawn(0, 20, 90, 4, scale=0.5)
    back = refactorise(weighted_sum([own], [1.0]), 4, 0.5)
    torch.testing.assert_close(back.factors.change(), own.change(), rtol=1e-12, atol=1e-12)
    assert back.kept.item() == pytest.approx(1)


def test_a_site_at_weight_zero_is_not_there():
    one, other = drawn(0, 20, 90, 4), drawn(1, 20, 90, 4)
    alone = refactorise(weighted_sum([one], [1.0]), 4, 1.0).factors.change()
    together = refactorise(weighted_sum([one, other], [1.0, 0.0]), 4, 1.0).factors.change()
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_stacked_and_dense_give_the_same_factors():
    total = weighted_sum([drawn(k, 24, 60, 2) for k in range(3)], [0.2, 0.3, 0.5])
    stacked, dense = refactorise(total, 4, 1.0), refactorise(DenseSum(whole(total)), 4, 1.0)
    torch.testing.assert_close(stacked.factors.A, dense.factors.A, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(stacked.factors.B, dense.factors.B, rtol=1e-8, atol=1e-8)


def test_both_sides_carry_the_same_weight():
    result = refactorise(weighted_sum([drawn(0, 20, 90, 4)], [1.0]), 4, 2.0)
    torch.testing.assert_close(result.factors.A.norm(dim=1), result.factors.B.norm(dim=0))


def test_no_change_stays_no_change():
    nothing = Factors(torch.zeros(3, 50), torch.zeros(40, 3))
    result = refactorise(weighted_sum([nothing, nothing], [0.5, 0.5]), 3, 1.0)
    assert not result.factors.change().any()
    assert (result.kept.item(), result.residual.item()) == (1.0, 0.0)
