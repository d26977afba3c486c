# SPDX-License-Identifier: Apache-2.0
"""What each strategy makes of a total; that sites and server agree about it is tested over whole rounds."""

import pytest
import torch
from flap_sam.config.strategies import known
from flap_sam.lowrank.aggregate import DenseSum
from flap_sam.lowrank.strategies import (
    FactorAverage,
    FrozenA,
    LayerGroup,
    Residual,
    SharedTucker,
    Strategy,
    Svd,
    strategy_named,
)
from flap_sam.lowrank.tucker import change_factors

GROUP = LayerGroup(("one", "two"))
RANK, SCALE = 2, 0.5


def total(seed: int = 0, layers: int = 2, d_out: int = 7, d_in: int = 9) -> DenseSum:
    generator = torch.Generator().manual_seed(seed)
    return DenseSum(torch.randn(layers, d_out, d_in, generator=generator, dtype=torch.float64))


def change(tensors) -> torch.Tensor:
    return torch.stack([SCALE * tensors[f"{path}.B"].double() @ tensors[f"{path}.A"].double() for path in GROUP.layers])


def tail(matrix: torch.Tensor) -> torch.Tensor:
    """The norm of what lies beyond the rank, by torch's singular values."""
    return torch.linalg.svdvals(matrix)[..., RANK:].square().sum(-1).sqrt()


def made(kind: type[Strategy]) -> Strategy:
    return kind([GROUP], RANK, SCALE)


def test_every_known_strategy_is_a_class_of_its_own():
    kinds = [strategy_named(name) for name in known()]
    assert len(set(kinds)) == len(kinds) >= 4
    assert all(issubclass(kind, Strategy) for kind in kinds)


def test_groups_and_plain_tensors_share_out_a_payload():
    payload = {"one.A": 1, "one.B": 2, "two.A": 3, "two.B": 4, "two.magnitude": 5, "head": 6}
    assert made(Svd).tensor_names(GROUP) == ["one.A", "one.B", "two.A", "two.B"]
    assert made(Svd).plain(payload) == {"two.magnitude": 5, "head": 6}
    assert Svd([], RANK, SCALE).plain(payload) == payload


def test_svd_keeps_the_best_of_its_rank_and_says_what_it_drops():
    found = made(Svd).merge(GROUP, total())
    dropped = torch.linalg.matrix_norm(total().dense() - change(found.tensors))
    torch.testing.assert_close(dropped, tail(total().dense()), rtol=1e-6, atol=1e-6)
    for i, path in enumerate(GROUP.layers):
        assert found.residual[path] == pytest.approx(dropped[i].item())
        whole = total().squared_norm[i].item()
        assert found.kept[path] == pytest.approx(1 - dropped[i].item() ** 2 / whole)
    assert made(Svd).state() == {}


def test_what_residual_drops_in_a_round_it_gets_back_in_the_next():
    """Over all rounds nothing is lost: the sum of the payloads and what is held back is the sum of the totals."""
    strategy, sent = made(Residual), torch.zeros(2, 7, 9, dtype=torch.float64)
    for number in range(4):
        found = strategy.merge(GROUP, total(number))
        sent += change(found.tensors)
        whole = sum(total(k).dense() for k in range(number + 1))
        torch.testing.assert_close(sent + strategy.state()[GROUP.name], whole)
    assert any(strategy.state()[GROUP.name].flatten() != 0)


def test_residual_goes_on_from_its_state():
    through, again = made(Residual), made(Residual)
    through.merge(GROUP, total(0))
    again.restore({name: tensor.clone() for name, tensor in through.state().items()})
    one, other = (strategy.merge(GROUP, total(1)).tensors for strategy in (through, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    fresh = made(Residual).merge(GROUP, total(1)).tensors
    assert not all(torch.equal(one[name], fresh[name]) for name in one)


@pytest.mark.parametrize("kind", [Svd, FactorAverage, FrozenA])
def test_a_strategy_without_memory_takes_up_none(kind):
    made(kind).restore({})
    with pytest.raises(ValueError, match=r"remembers nothing, yet is given \['one'\]"):
        made(kind).restore({"one": torch.zeros(1)})


@pytest.mark.parametrize("kind", [FactorAverage, FrozenA])
def test_a_strategy_that_averages_factors_merges_no_change(kind):
    with pytest.raises(ValueError, match="no layer's change is federated"):
        made(kind).merge(GROUP, total())
    assert not kind.traits.sums_changes
    assert FrozenA.traits.roles.A == "frozen"


def test_the_shared_factors_of_masam_come_back_from_their_own_change():
    generator = torch.Generator().manual_seed(3)
    payload = {
        "fact.U": torch.randn(RANK, 9, generator=generator),
        "fact.V": torch.randn(9, RANK, generator=generator),
        **{f"{path}.core": torch.randn(RANK, RANK, generator=generator) for path in GROUP.layers},
    }
    strategy = SharedTucker(GROUP, "fact", RANK, SCALE)
    own = strategy.factors(GROUP, payload).change()
    by_hand = [SCALE * payload["fact.V"] @ payload[f"{path}.core"] @ payload["fact.U"] for path in GROUP.layers]
    torch.testing.assert_close(own, torch.stack(by_hand).double(), rtol=1e-5, atol=1e-5)
    found = strategy.merge(GROUP, DenseSum(own))
    assert set(found.tensors) == set(strategy.tensor_names(GROUP)) == set(payload)
    cores = torch.stack([found.tensors[f"{path}.core"] for path in GROUP.layers])
    back = change_factors(found.tensors["fact.U"], found.tensors["fact.V"], cores, SCALE).change()
    torch.testing.assert_close(back, own)
    assert list(found.kept.values()) == pytest.approx([1.0, 1.0])
    assert max(found.residual.values()) < 1e-5
