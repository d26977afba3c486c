# SPDX-License-Identifier: Apache-2.0
"""Weight changes in factored form, beside the dense ones."""

import pytest
import torch
from flap_sam.lowrank.factors import Factors, leading, stack
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lowrank.test_aggregate import drawn

SIZES = {"d_out": st.integers(1, 12), "d_in": st.integers(1, 12), "rank": st.integers(1, 15)}


@settings(max_examples=40)
@given(**SIZES, scale=st.floats(-3, 3), seed=st.integers(0, 99))
def test_the_change_is_the_product_in_float64_and_its_norm_at_most_the_factors(d_out, d_in, rank, scale, seed):
    found = drawn(seed, d_out, d_in, rank, scale)
    assert found.rank == rank
    assert found.change().dtype == torch.float64
    by_hand = torch.zeros(d_out, d_in, dtype=torch.float64)
    for k in range(rank):
        by_hand += scale * torch.outer(found.B[:, k].double(), found.A[k].double())
    torch.testing.assert_close(found.change(), by_hand)
    assert torch.linalg.matrix_norm(found.change()) <= found.sizes() * (1 + 1e-12)
    if rank == 1:
        torch.testing.assert_close(torch.linalg.matrix_norm(found.change()), found.sizes())


@pytest.mark.parametrize("lead", [(1,), (3,), (2, 3)])
def test_several_layers_at_once_are_each_by_itself(lead):
    layers = [drawn(seed, 5, 7, 2, 0.5) for seed in range(int(torch.tensor(lead).prod()))]
    a = torch.stack([f.A for f in layers]).unflatten(0, lead)
    b = torch.stack([f.B for f in layers]).unflatten(0, lead)
    batch = Factors(a, b, 0.5)
    torch.testing.assert_close(batch.change().flatten(0, -3), torch.stack([f.change() for f in layers]))
    torch.testing.assert_close(batch.sizes().flatten(), torch.stack([f.sizes() for f in layers]))
    torch.testing.assert_close(stack(layers).change(), torch.stack([f.change() for f in layers]))


@pytest.mark.parametrize(
    ("a", "b"), [((3, 5), (4, 2)), ((2, 3, 5), (4, 3)), ((2, 3, 5), (1, 4, 3)), ((2, 3, 5), (3, 4, 3))]
)
def test_factors_of_other_ranks_or_layers_are_refused(a, b):
    with pytest.raises(ValueError, match="do not multiply"):
        Factors(torch.zeros(a), torch.zeros(b))


def test_factors_that_do_not_multiply_are_refused():
    with pytest.raises(ValueError, match="do not multiply"):
        Factors(torch.zeros(3, 5), torch.zeros(4, 2))


def test_the_leading_part_of_factors_is_that_of_their_change():
    whole = drawn(0, 7, 9, 4)
    part = Factors(leading(whole.A, (2, 9)), leading(whole.B, (7, 2)))
    torch.testing.assert_close(part.change(), (whole.B[:, :2] @ whole.A[:2]).double())
