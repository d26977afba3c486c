# SPDX-License-Identifier: Apache-2.0
"""The best rank-r form against NumPy's whole decomposition, where small and large, with and without a gap."""

import numpy as np
import pytest
import torch
from flap_sam.lowrank import singular
from flap_sam.lowrank.aggregate import DenseSum, StackedSum
from flap_sam.lowrank.singular import WHOLE, leading_triplets
from hypothesis import given
from hypothesis import strategies as st

from tests.lowrank.test_aggregate import drawn, total_of

LARGE = WHOLE + 44


def form(u, s, vh) -> np.ndarray:
    return ((u * s.unsqueeze(-2)) @ vh).numpy()


def best(change: torch.Tensor, rank: int) -> np.ndarray:
    u, s, vh = np.linalg.svd(change.numpy(), full_matrices=False)
    return (u[..., :rank] * s[..., None, :rank]) @ vh[..., :rank, :]


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def with_values(values: torch.Tensor, d_out: int, d_in: int, seed: int) -> torch.Tensor:
    """[d_out, d_in] of these singular values."""
    generator = torch.Generator().manual_seed(seed)
    bases = [torch.randn(d, len(values), generator=generator, dtype=torch.float64) for d in (d_out, d_in)]
    u, v = (torch.linalg.qr(base)[0] for base in bases)
    return (u * values.double()) @ v.mT


def stepped(count: int, rank: int, gap: float) -> torch.Tensor:
    """Singular values that fall by the gap at the cut and hardly elsewhere."""
    values = 0.999 ** torch.arange(count, dtype=torch.float64)
    values[rank:] /= 1 + gap
    return values


@given(
    sites=st.integers(1, 8),
    site_rank=st.integers(1, 12),
    rank=st.integers(1, 16),
    sides=st.sampled_from([(80, 48), (48, 80), (50, 50)]),
)
def test_a_small_sum_is_exact_in_either_form(sites, site_rank, rank, sides):
    total = total_of([drawn(k, *sides, site_rank) for k in range(sites)], [1] * sites)
    values = torch.linalg.svdvals(total.dense())
    if rank < len(values) and values[rank] > 0.999 * values[rank - 1]:
        return  # without a gap more than one form is best
    for one in (total, DenseSum(total.dense())):
        assert apart(form(*leading_triplets(one, rank)), best(total.dense(), rank)) < 1e-12


@pytest.mark.parametrize("gap", [0.5, 0.05, 0.01])
@pytest.mark.parametrize(("d_out", "d_in"), [(80, 48), (LARGE, LARGE + 20)])
def test_a_gap_of_a_few_percent_at_the_cut_is_enough_for_nine_digits(gap, d_out, d_in):
    values, rank = stepped(min(d_out, d_in), 12, gap), 12
    layers = torch.stack([with_values(values, d_out, d_in, seed) for seed in range(2)])
    found = leading_triplets(DenseSum(layers), rank)
    assert apart(form(*found), best(layers, rank)) < 1e-9
    torch.testing.assert_close(found[1], values[:rank].expand(2, rank), rtol=1e-12, atol=0)


def test_a_large_sum_is_iterated_where_its_subspace_stands_and_whole_where_it_does_not(monkeypatch):
    decomposed, whole = [], singular._whole
    monkeypatch.setattr(singular, "_whole", lambda change, rank: decomposed.append(change) or whole(change, rank))
    decaying, flat = 0.5 ** torch.arange(LARGE), torch.ones(LARGE)
    layers = torch.stack([with_values(values, LARGE, LARGE, 1) for values in (decaying, flat, decaying)])
    found = leading_triplets(DenseSum(layers), 4)
    assert len(decomposed) == 1
    assert torch.equal(decomposed[0], layers[1])
    for i in (0, 2):
        assert apart(form(*(part[i] for part in found)), best(layers[i], 4)) < 1e-10
    dropped = np.linalg.norm(layers[1].numpy() - form(*(part[1] for part in found)))
    assert dropped == pytest.approx((LARGE - 4) ** 0.5, rel=1e-12)


@pytest.mark.parametrize("rank", [1, 5, 40])
def test_a_change_of_lower_rank_is_exact_at_once(rank):
    own = drawn(0, LARGE, LARGE + 3, 5)
    for total in (DenseSum(own.change()), StackedSum(own.B.double(), own.A.double())):
        u, s, vh = leading_triplets(total, rank)
        assert apart(form(u, s, vh), best(own.change(), rank)) < 1e-12
        assert (u.mT @ u - torch.eye(u.shape[-1])).abs().max() < 1e-12
        assert (vh @ vh.mT - torch.eye(vh.shape[-2])).abs().max() < 1e-12


@pytest.mark.parametrize("shape", [(LARGE, LARGE), (3, 20, 30), (2, 3, LARGE, LARGE)])
def test_nothing_has_nothing(shape):
    u, s, vh = leading_triplets(DenseSum(torch.zeros(shape, dtype=torch.float64)), 3)
    assert not s.any()
    assert u.shape == (*shape[:-1], 3)
    assert vh.shape == (*shape[:-2], 3, shape[-1])
