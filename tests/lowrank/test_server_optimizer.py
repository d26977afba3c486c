# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.lowrank.server_optimizer import TAU, Adam, Momentum, Yogi, server_optimizer

NAMES = ["momentum", "adam", "yogi"]
ZERO = {"w": torch.zeros(2, 3)}


def towards(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.full((2, 3), value)}


def test_momentum_by_hand():
    optimizer = Momentum(None)
    first = optimizer.step(ZERO, towards(1.0))["w"]
    torch.testing.assert_close(first, torch.full((2, 3), 0.1, dtype=torch.float64))
    second = optimizer.step({"w": first}, {"w": first + 1})["w"]
    torch.testing.assert_close(second, first + 0.9 * 0.1 + 0.1)


@pytest.mark.parametrize(("kind", "v"), [(Adam, 0.99 * TAU**2 + 0.01 * 4), (Yogi, TAU**2 + 0.01 * 4)])
def test_the_adaptive_ones_by_hand(kind, v):
    stepped = kind(0.5).step(ZERO, towards(-2.0))["w"]
    expected = 0.5 * (0.1 * -2.0) / (v**0.5 + TAU)
    torch.testing.assert_close(stepped, torch.full((2, 3), expected, dtype=torch.float64))


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_optimizer_goes_on_with_the_same_bits(name):
    one, other = server_optimizer(name, 0.1), server_optimizer(name, 0.1)
    one.step(ZERO, towards(1.0))
    other.restore({n: t.clone() for n, t in one.state().items()})
    target = {"w": torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), "new": torch.ones(4)}
    before = {"w": torch.ones(2, 3), "new": torch.zeros(4)}
    for name_, tensor in one.step(before, target).items():
        assert torch.equal(tensor, other.step(before, {name_: target[name_]})[name_])


@pytest.mark.parametrize("name", NAMES)
def test_where_the_sites_agree_with_the_server_nothing_moves(name):
    where = {"w": torch.randn(3, 2)}
    assert torch.equal(server_optimizer(name, None).step(where, where)["w"], where["w"].double())


def test_none_is_none():
    assert server_optimizer("none", 1.0) is None
