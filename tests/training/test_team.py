# SPDX-License-Identifier: Apache-2.0
"""One of several processes: its part of a batch, and sums with the others, who are stood in for."""

import pytest
import torch
from flap_sam.training import team as module
from flap_sam.training.team import ALONE, Team
from hypothesis import given
from hypothesis import strategies as st


@given(windows=st.integers(1, 40), size=st.integers(1, 9))
def test_every_window_is_in_one_part_and_who_has_none_counts_for_nothing(windows, size):
    everything, taken = torch.arange(windows), []
    for rank in range(size):
        part, weight = Team(rank, size).part(windows)
        own = everything[part].tolist()
        assert own, "a process without a window takes one, so that all take the step"
        assert weight == (1.0 if rank < windows else 0.0)
        taken += own if weight else []
    assert sorted(taken) == list(range(windows))


@pytest.fixture
def others(monkeypatch):
    """What the other processes add, whatever is summed."""
    added: list[torch.Tensor] = []
    monkeypatch.setattr(module.distributed, "all_reduce", lambda tensor: tensor.add_(added.pop(0)))
    return added


@pytest.mark.usefixtures("others")
def test_alone_nothing_is_summed():
    own = torch.tensor([1.0, 2.0], requires_grad=True)
    assert ALONE.total(own) is own
    ALONE.add_gradients([own])
    assert own.grad is None


def test_a_total_is_of_all_and_its_gradient_of_the_own_share(others):
    own = torch.tensor([1.0, 2.0], requires_grad=True)
    others.append(torch.tensor([10.0, 20.0]))
    total = Team(0, 2).total(own)
    assert total.tolist() == [11.0, 22.0]
    (total**2).sum().backward()
    assert own.grad.tolist() == [22.0, 44.0], "2 x the total, not 2 x the own"
    assert own.tolist() == [1.0, 2.0]


def test_gradients_are_summed_in_their_shapes_and_frozen_parameters_are_left_alone(others):
    shapes = [(2, 3), (), (4,)]
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    frozen = torch.nn.Parameter(torch.zeros(2))
    for number, parameter in enumerate(parameters, 1):
        parameter.grad = torch.full_like(parameter, float(number))
    others.append(torch.arange(11.0))
    Team(1, 2).add_gradients([parameters[0], frozen, *parameters[1:]])
    assert frozen.grad is None
    assert parameters[0].grad.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert parameters[1].grad.item() == 2.0 + 6
    assert parameters[2].grad.tolist() == [3.0 + k for k in range(7, 11)]
