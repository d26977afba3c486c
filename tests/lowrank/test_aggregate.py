"""Properties of the weighted sum, on the weight change itself: A and B alone mean nothing."""

import pytest
import torch
from flap_sam.lowrank.aggregate import DenseSum, StackedSum, weighted_average, weighted_sum
from flap_sam.lowrank.factors import Factors, stack
from hypothesis import given
from hypothesis import strategies as st


def drawn(seed: int, d_out: int, d_in: int, rank: int, scale: float = 1.0) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    return Factors(torch.randn(rank, d_in, generator=generator), torch.randn(d_out, rank, generator=generator), scale)


def whole(total: StackedSum | DenseSum) -> torch.Tensor:
    return total.change if isinstance(total, DenseSum) else total.left @ total.right


@given(
    ranks=st.lists(st.integers(1, 9), min_size=1, max_size=7),
    d_out=st.integers(3, 40),
    d_in=st.integers(3, 40),
    data=st.data(),
)
def test_the_sum_is_that_of_the_changes(ranks, d_out, d_in, data):
    scales = data.draw(st.lists(st.floats(0.1, 4), min_size=len(ranks), max_size=len(ranks)))
    weights = data.draw(st.lists(st.floats(0, 1), min_size=len(ranks), max_size=len(ranks)))
    updates = [drawn(i, d_out, d_in, r, s) for i, (r, s) in enumerate(zip(ranks, scales, strict=True))]
    expected = sum(w * u.scale * u.B.double() @ u.A.double() for u, w in zip(updates, weights, strict=True))
    torch.testing.assert_close(whole(weighted_sum(updates, weights)), expected, rtol=1e-10, atol=1e-10)


def test_the_form_is_chosen_by_size():
    few, many = ([drawn(k, 40, 30, 3) for k in range(n)] for n in (4, 5))
    assert isinstance(weighted_sum(few, [0.25] * 4), StackedSum)
    assert isinstance(weighted_sum(many, [0.2] * 5), DenseSum)


@pytest.mark.parametrize("weights", [[1.0], [0.5, -0.1], [0.5, float("nan")]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        weighted_sum([drawn(0, 4, 5, 2), drawn(1, 4, 5, 2)], weights)


def test_factors_that_do_not_multiply_are_refused():
    with pytest.raises(ValueError, match="do not multiply"):
        Factors(torch.zeros(3, 5), torch.zeros(4, 2))


def test_a_batch_of_layers_sums_layer_by_layer():
    sites = [[drawn(10 * k + i, 12, 50, 2, 0.5) for i in range(3)] for k in range(2)]
    batched = whole(weighted_sum([stack(layers) for layers in sites], [0.3, 0.7]))
    for i in range(3):
        alone = whole(weighted_sum([layers[i] for layers in sites], [0.3, 0.7]))
        torch.testing.assert_close(batched[i], alone)


def test_the_average_is_summed_in_float64():
    tensors = [torch.tensor([1e8, 1.0]), torch.tensor([-1e8, 1.0]), torch.tensor([1.0, 1.0])]
    assert torch.equal(weighted_average(tensors, [0.25, 0.25, 0.5]), torch.tensor([0.5, 1.0]))
