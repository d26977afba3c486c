# SPDX-License-Identifier: Apache-2.0
"""Properties of the weighted sum, on the weight change itself: A and B alone mean nothing."""

from itertools import permutations

import pytest
import torch
from flap_sam.lowrank.aggregate import DenseSum, RunningAverage, RunningSum, StackedSum
from flap_sam.lowrank.factors import Factors, stack
from hypothesis import given
from hypothesis import strategies as st


def drawn(seed: int, d_out: int, d_in: int, rank: int, scale: float = 1.0) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    return Factors(torch.randn(rank, d_in, generator=generator), torch.randn(d_out, rank, generator=generator), scale)


def total_of(updates, weights) -> StackedSum | DenseSum:
    running = RunningSum()
    running.add(updates, weights)
    return running.total()


@given(
    ranks=st.lists(st.integers(1, 9), min_size=1, max_size=7),
    d_out=st.integers(3, 40),
    d_in=st.integers(3, 40),
    data=st.data(),
)
def test_the_total_is_the_mean_of_the_changes_however_it_is_added(ranks, d_out, d_in, data):
    scales = data.draw(st.lists(st.floats(0.1, 4), min_size=len(ranks), max_size=len(ranks)))
    weights = data.draw(st.lists(st.integers(0, 900), min_size=len(ranks), max_size=len(ranks)).filter(any))
    split = data.draw(st.integers(0, len(ranks)))
    updates = [drawn(i, d_out, d_in, r, s) for i, (r, s) in enumerate(zip(ranks, scales, strict=True))]
    expected = sum(w * u.scale * u.B.double() @ u.A.double() for u, w in zip(updates, weights, strict=True))
    expected = expected / sum(weights)
    torch.testing.assert_close(total_of(updates, weights).dense(), expected, rtol=1e-10, atol=1e-10)
    running = RunningSum()
    for part in (slice(split), slice(split, None)):
        if updates[part]:
            running.add(updates[part], weights[part])
    torch.testing.assert_close(running.total().dense(), expected, rtol=1e-10, atol=1e-10)


def test_the_form_is_chosen_by_size_and_turns_once():
    updates = [drawn(k, 40, 30, 3) for k in range(6)]
    assert isinstance(total_of(updates[:4], [1] * 4), StackedSum)
    assert isinstance(total_of(updates[:5], [1] * 5), DenseSum)
    running = RunningSum()
    for update in updates:
        running.add([update], [2])
    assert isinstance(running.total(), DenseSum)
    torch.testing.assert_close(running.total().dense(), total_of(updates, [2] * 6).dense())


def test_order_changes_no_more_than_float64_rounding():
    updates, weights = [drawn(k, 12, 50, 2) for k in range(4)], [3, 1, 4, 1]
    first = total_of(updates, weights).dense()
    for order in permutations(range(4)):
        again = total_of([updates[k] for k in order], [weights[k] for k in order]).dense()
        torch.testing.assert_close(again, first, rtol=1e-13, atol=1e-13)


def test_only_the_ratio_of_the_weights_counts():
    updates = [drawn(k, 12, 50, 2) for k in range(3)]
    torch.testing.assert_close(total_of(updates, [1, 2, 3]).dense(), total_of(updates, [100, 200, 300]).dense())


@pytest.mark.parametrize("weights", [[1.0], [0.5, -0.1], [0.5, float("nan")]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        total_of([drawn(0, 4, 5, 2), drawn(1, 4, 5, 2)], weights)


def test_a_sum_without_weight_has_no_mean():
    with pytest.raises(ValueError, match="sum to 0"):
        total_of([drawn(0, 4, 5, 2)], [0])
    with pytest.raises(ValueError, match="sum to 0"):
        RunningAverage().mean()


@pytest.mark.parametrize("sites", [2, 6])
def test_a_batch_of_layers_sums_layer_by_layer(sites):
    """Stacked with two sites, dense with six."""
    layers = [[drawn(10 * k + i, 12, 50, 2, 0.5) for i in range(3)] for k in range(sites)]
    batched = total_of([stack(site) for site in layers], [1] * sites).dense()
    for i in range(3):
        torch.testing.assert_close(batched[i], total_of([site[i] for site in layers], [1] * sites).dense())


@given(
    values=st.lists(
        st.tuples(st.floats(-1024, 1024, width=32, allow_subnormal=False), st.integers(1, 2**20)),
        min_size=1,
        max_size=5,
    )
)
def test_an_average_does_not_depend_on_the_order(values):
    results = set()
    for order in permutations(values):
        running = RunningAverage()
        for value, weight in order:
            running.add(torch.tensor([value], dtype=torch.float32), weight)
        results.add(running.mean().float().item())
    assert len(results) == 1


def test_an_average_survives_cancellation():
    running = RunningAverage()
    for value in (1e30, 1.0, -1e30, 3.0):
        running.add(torch.tensor([value, 1.0], dtype=torch.float64), 1)
    assert torch.equal(running.mean(), torch.tensor([1.0, 1.0], dtype=torch.float64))
