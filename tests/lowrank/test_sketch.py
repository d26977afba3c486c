# SPDX-License-Identifier: Apache-2.0
"""Two linear sketches: exact where they are as wide as the sum's rank, and measured where they are not."""

import pytest
import torch
from flap_sam.lowrank.aggregate import DenseSum
from flap_sam.lowrank.refactorise import refactorise
from flap_sam.lowrank.sketch import drawn_matrix, from_sketches, left_sketch, most_ranks, range_basis, right_sketch
from flap_sam.lowrank.strategies import LayerGroup, Sketch
from hypothesis import given
from hypothesis import strategies as st

from tests.lowrank.test_aggregate import drawn, total_of

shapes = {
    "d_out": st.integers(2, 30),
    "d_in": st.integers(2, 30),
    "rank": st.integers(1, 5),
    "weights": st.lists(st.integers(1, 11_000), min_size=1, max_size=5),
    "seed": st.integers(0, 2**63 - 1),
}


@given(st.integers(1, 40), st.data())
def test_what_is_drawn_is_orthonormal_and_new_for_every_round_layer_and_seed(d_in, data):
    width = data.draw(st.integers(1, d_in))
    omega = drawn_matrix(d_in, width, 7, 3, "a")
    torch.testing.assert_close(omega.mT @ omega, torch.eye(width, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.equal(omega, drawn_matrix(d_in, width, 7, 3, "a"))
    if d_in > 1:
        for other in ((8, 3, "a"), (7, 4, "a"), (7, 3, "b")):
            assert not torch.allclose(omega, drawn_matrix(d_in, width, *other))


@given(**shapes)
def test_the_sites_sketches_sum_to_the_sketches_of_the_sum(d_out, d_in, rank, weights, seed):
    """Y and Z as each gate computes them from its own update and the base that all received."""
    base, *updates = (drawn(k, d_out, d_in, rank, scale=0.5) for k in range(len(weights) + 1))
    n = sum(weights)
    width = min(len(weights) * rank, d_out, d_in)
    omega = drawn_matrix(d_in, width, seed, 0, "layer")
    y = n * right_sketch(base, omega)
    y = y + sum(w * (right_sketch(u, omega) - right_sketch(base, omega)) for u, w in zip(updates, weights, strict=True))
    q = range_basis(y / n)
    z = n * left_sketch(base, q)
    z = z + sum(w * (left_sketch(u, q) - left_sketch(base, q)) for u, w in zip(updates, weights, strict=True))
    exact = sum(w / n * u.change() for u, w in zip(updates, weights, strict=True))
    size = max(exact.abs().max().item(), base.change().abs().max().item())
    torch.testing.assert_close(from_sketches(q, z / n).dense(), exact, rtol=0, atol=1e-7 * size)


@given(**shapes, width=st.integers(1, 40))
def test_as_wide_as_the_rank_it_is_the_svd_and_below_the_error_is_told(d_out, d_in, rank, weights, seed, width):
    total = total_of([drawn(k, d_out, d_in, rank) for k in range(len(weights))], weights)
    strategy = Sketch([], rank, 1.0, sketch_width=width)
    strategy.start_round(2, seed)
    layer = (
        DenseSum(total.dense().unsqueeze(0))
        if isinstance(total, DenseSum)
        else type(total)(total.left[None], total.right[None])
    )
    merged = strategy.merge(LayerGroup(("layer",)), layer)
    change = merged.tensors["layer.B"] @ merged.tensors["layer.A"]
    exact, best = total.dense(), refactorise(total, rank, 1.0)
    size = torch.linalg.norm(exact).item()
    error = torch.linalg.norm(exact - change).item()
    assert merged.residual["layer"] == pytest.approx(error, rel=1e-6, abs=1e-6 * size)
    assert merged.kept["layer"] == pytest.approx(1 - (error / size) ** 2, abs=1e-9)
    if width >= len(weights) * rank:
        assert error == pytest.approx(best.residual.item(), rel=1e-6, abs=1e-6 * size)
    if width >= most_ranks(total):
        assert merged.excess == {}
    else:
        beyond = max(error**2 - best.residual.item() ** 2, 0) ** 0.5
        assert merged.excess["layer"] == pytest.approx(beyond, rel=1e-4, abs=1e-5 * size)


def test_a_narrow_sketch_loses_and_says_so():
    """Six sites of rank 4, all directions alike: 8 columns cannot hold what 24 do."""
    total = total_of([drawn(k, 200, 120, 4) for k in range(6)], [1] * 6)
    stacked = type(total)(total.left[None], total.right[None])
    for width, loses in ((8, True), (24, False), (None, False)):
        merged = Sketch([], 4, 1.0, sketch_width=width).merge(LayerGroup(("layer",)), stacked)
        assert bool(merged.excess) == loses
        assert not loses or merged.excess["layer"] > 0.1 * merged.residual["layer"] > 0
