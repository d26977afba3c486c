# SPDX-License-Identifier: Apache-2.0
"""What masks cost, beside sums over pixels by hand."""

import math

import pytest
import torch
from flap_sam.pretraining.loss import answer_loss, mask_loss, overlap
from hypothesis import given
from hypothesis import strategies as st

CERTAIN = 40.0


def masks(*shape) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.6).float()


@given(
    logits=st.lists(st.floats(-6, 6), min_size=6, max_size=6),
    target=st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=6, max_size=6),
)
def test_the_loss_is_20_focal_and_1_dice(logits, target):
    """Pixels at the rim of a mask are covered in part."""
    focal = both = either = 0.0
    for x, t in zip(logits, target, strict=True):
        p = 1 / (1 + math.exp(-x))
        focal += abs(p - t) ** 2 * -(t * math.log(p) + (1 - t) * math.log(1 - p)) / 6
        both, either = both + p * t, either + p + t
    expected = 20 * focal + 1 - (2 * both + 1) / (either + 1)
    found = mask_loss(torch.tensor(logits).view(2, 3).double(), torch.tensor(target).view(2, 3).double())
    assert found.item() == pytest.approx(expected, abs=1e-5)


def test_every_mask_costs_for_itself():
    logits, target = torch.randn(3, 2, 5, 4), masks(3, 2, 5, 4)
    found = mask_loss(logits, target)
    assert found.shape == (3, 2)
    torch.testing.assert_close(found[1, 0], mask_loss(logits[1, 0], target[1, 0]))
    right = mask_loss((target - 0.5) * CERTAIN, target)
    assert right.max() < 0.01
    assert (mask_loss((0.5 - target) * CERTAIN, target) > right + 1).all()


@pytest.mark.parametrize(
    ("found", "true", "expected"),
    [("110", "011", 1 / 3), ("111", "110", 2 / 3), ("100", "011", 0), ("000", "100", 0), ("100", "000", 0)],
)
def test_overlap_is_intersection_over_union(found, true, expected):
    logits = torch.tensor([[1.0 if bit == "1" else -1.0 for bit in found]])
    assert overlap(logits, torch.tensor([[float(bit) for bit in true]])).item() == pytest.approx(expected)


def test_two_empty_masks_are_the_same():
    assert overlap(-torch.ones(2, 3, 4), torch.zeros(2, 3, 4)).tolist() == [1.0, 1.0]


def answers(target: torch.Tensor, right: list[int]) -> torch.Tensor:
    """Four answers a prompt of which one is right."""
    logits = -torch.ones(len(right), 4, *target.shape[1:])
    for n, number in enumerate(right):
        logits[n, number] = (target[n] - 0.5) * CERTAIN
    return logits.requires_grad_()


@pytest.mark.parametrize("right", [[1, 3], [2, 2]])
def test_of_three_answers_to_a_point_the_best_alone_learns(right):
    target = masks(2, 6, 5)
    logits, expected = answers(target, right), torch.zeros(2, 4, requires_grad=True)
    loss, chosen = answer_loss(logits, expected, target, several=False)
    assert chosen.tolist() == right
    loss.backward()
    learnt = logits.grad.abs().amax((2, 3)) > 0
    assert all(not learnt[n, k] for n in range(2) for k in range(4) if k != right[n])
    assert expected.grad[:, 0].tolist() == [0, 0], "the answer to several prompts was not asked for"
    assert (expected.grad[range(2), right] < 0).all(), "the network should have expected more"


def test_where_more_is_asked_the_first_answer_counts():
    target = masks(2, 6, 5)
    logits, expected = answers(target, [1, 3]), torch.full((2, 4), 0.5)
    loss, chosen = answer_loss(logits, expected, target, several=True)
    assert chosen.tolist() == [0, 0]
    by_hand = mask_loss(logits[:, 0], target) + (expected[:, 0] - overlap(logits[:, 0], target)).square()
    torch.testing.assert_close(loss, by_hand.mean())
