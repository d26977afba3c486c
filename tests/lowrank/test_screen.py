# SPDX-License-Identifier: Apache-2.0
"""Which updates count: absolute and relative limits, and the site's own norm is no measure of itself."""

from itertools import permutations
from math import sqrt

import pytest
import torch
from flap_sam.lowrank.gather import SiteUpdate
from flap_sam.lowrank.screen import Screen
from flap_sam.lowrank.strategies import LayerGroup, Svd
from hypothesis import given
from hypothesis import strategies as st

LAYERS = ("one", "two")
OTHER = "head"


def strategy() -> Svd:
    return Svd([LayerGroup(LAYERS)], 3, 0.5, "balanced", 1.0)


def drawn(seed: int, adapters: float = 1.0, others: float = 1.0, rank: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in LAYERS:
        tensors[f"{layer}.A"] = torch.randn(rank, 9, generator=generator)
        tensors[f"{layer}.B"] = adapters * torch.randn(7, rank, generator=generator)
    return {**tensors, OTHER: others * torch.randn(4, 5, generator=generator)}


def update(site: str, tensors) -> SiteUpdate:
    return SiteUpdate(site, 1, tensors)


def dense(tensors, layer: str) -> torch.Tensor:
    return 0.5 * tensors[f"{layer}.B"].double() @ tensors[f"{layer}.A"].double()


def screened(updates, received=None, relative=10.0, absolute=None) -> Screen:
    screen = Screen(strategy(), received or {}, relative, absolute)
    screen.judge(updates)
    return screen


@given(seed=st.integers(0, 1000), rank=st.integers(1, 3))
def test_the_change_is_measured_from_what_the_site_received(seed, rank):
    """Against dense arithmetic, also of a site of lower rank, which received the leading part."""
    received, sent = drawn(1000 + seed), drawn(seed, rank=rank)
    found = screened([update("A", sent)], received).norms["A"]
    adapters = change = 0.0
    for layer in LAYERS:
        before = {f"{layer}.A": received[f"{layer}.A"][:rank], f"{layer}.B": received[f"{layer}.B"][:, :rank]}
        adapters += dense(sent, layer).square().sum()
        change += (dense(sent, layer) - dense(before, layer)).square().sum()
    change += (sent[OTHER] - received[OTHER]).double().square().sum()
    assert found.adapters == pytest.approx(sqrt(adapters))
    assert found.others == pytest.approx(sent[OTHER].double().norm().item())
    assert found.change == pytest.approx(sqrt(change))


def test_what_comes_back_as_it_was_sent_is_no_change():
    received = drawn(0)
    assert screened([update("A", received)], received).norms["A"].change < 1e-6


def test_in_a_first_round_the_middle_of_the_sites_stands_in_for_the_start():
    sites = [update(site, drawn(seed)) for seed, site in enumerate("ABC")]
    found = screened(sites).norms
    middle = torch.stack([s.tensors[OTHER] for s in sites]).median(dim=0).values
    for site in sites:
        change = sum(dense(site.tensors, layer).square().sum() for layer in LAYERS)
        change += (site.tensors[OTHER] - middle).double().square().sum()
        assert found[site.site].change == pytest.approx(sqrt(change))


@pytest.mark.parametrize("kind", ["adapters", "others"])
@pytest.mark.parametrize(("honest", "hostile"), [(1, 1), (2, 1), (1, 2), (3, 3), (2, 5)])
def test_the_absolute_limit_holds_whoever_colludes(kind, honest, hostile):
    """Two sites with 1e5 times the norm, half of the sites, or most of them: none of theirs counts."""
    updates = [update(f"honest-{k}", drawn(k)) for k in range(honest)]
    updates += [update(f"hostile-{k}", drawn(50, **{kind: 1e5})) for k in range(hostile)]
    counted = {u.site for u in Screen(strategy(), drawn(99), 10.0, 50.0).judge(updates)}
    assert counted == {f"honest-{k}" for k in range(honest)}
    if kind == "adapters":
        assert {u.site for u in Screen(strategy(), {}, 10.0, 50.0).judge(updates)} == counted, "also in a first round"


@pytest.mark.parametrize(("honest", "hostile"), [(1, 1), (2, 2), (3, 3)])
def test_in_a_first_round_half_of_the_sites_cannot_pass_with_other_tensors_far_away(honest, hostile):
    """Nobody knows who is right: all stand far from the middle, and none counts."""
    same = drawn(50, others=1e5)
    updates = [update(f"honest-{k}", drawn(k)) for k in range(honest)]
    updates += [update(f"hostile-{k}", same) for k in range(hostile)]
    assert Screen(strategy(), {}, 10.0, 50.0).judge(updates) == []


@pytest.mark.parametrize("kind", ["adapters", "others"])
@pytest.mark.parametrize("sites", [3, 4, 6, 8])
def test_half_of_the_sites_colluding_do_not_raise_the_median_they_are_measured_by(kind, sites):
    """A site's own norm is not among those it is compared with, so the honest half is the majority of the others."""
    hostile = sites // 2
    updates = [update(f"honest-{k}", drawn(k)) for k in range(sites - hostile)]
    updates += [update(f"hostile-{k}", drawn(50 + k, **{kind: 100.0})) for k in range(hostile)]
    screen = screened(updates)
    assert set(screen.refused) == {f"hostile-{k}" for k in range(hostile)}
    assert all("times the median (norm_limit)" in reason for reason in screen.refused.values())


def test_of_fewer_than_three_the_relative_limit_refuses_none():
    updates = [update(str(k), drawn(k, adapters=1000.0**k, others=1000.0**k)) for k in range(2)]
    assert screened(updates[1:]).refused == screened(updates).refused == {}
    assert screened([*updates, update("2", drawn(2))]).refused.keys() == {"1"}


def test_refused_updates_are_no_measure_for_others_and_a_later_block_is_judged_by_all_before_it():
    screen = Screen(strategy(), drawn(99), 10.0, 1000.0)
    first = [update(f"hostile-{k}", drawn(50, adapters=1e5)) for k in range(3)]
    first += [update(f"honest-{k}", drawn(k)) for k in range(2)]
    assert {u.site for u in screen.judge(first)} == {"honest-0", "honest-1"}
    assert screen.judge([update("late", drawn(7, adapters=30.0))]) == []
    assert "the median of the others" in screen.refused["late"]
    assert [u.site for u in screen.judge([update("last", drawn(8))])] == ["last"]


def test_the_order_within_a_block_decides_nothing():
    sites = [update("A", drawn(0)), update("B", drawn(1, adapters=100.0)), update("C", drawn(2)), update("D", drawn(3))]
    expected = screened(sites)
    for order in permutations(sites):
        found = screened(order)
        assert (found.refused, found.norms) == (expected.refused, expected.norms)


def test_without_limits_everything_counts():
    updates = [update(str(k), drawn(k, adapters=1000.0**k)) for k in range(4)]
    assert screened(updates, relative=None).refused == {}


@pytest.mark.parametrize("size", [1e6, 1e10, 1e15, 1e18])
@pytest.mark.parametrize("shares", [(1.0, -1.0, 0.0), (1.0, 2.0, -3.0)])
def test_factors_that_cancel_count_for_nothing(size, shares):
    """Norms of 0, or of anything; but what rounding leaves of them in a sum is as large as they like."""
    hostile = drawn(9)
    for layer in LAYERS:
        hostile[f"{layer}.A"] = size * torch.outer(torch.tensor(shares), torch.randn(9))
        hostile[f"{layer}.B"] = size * torch.randn(7, 1).expand(7, 3)
    updates = [update(f"honest-{seed}", drawn(seed)) for seed in range(5)] + [update("hostile", hostile)]
    assert set(screened(updates, relative=None).refused) == {"hostile"}
    assert set(screened(updates, drawn(8), relative=10.0, absolute=1e3).refused) == {"hostile"}


@given(seed=st.integers(0, 1000), power=st.integers(-20, 20))
def test_honest_factors_do_not_cancel_whatever_their_scale(seed, power):
    """Of adapters as they are drawn, in any split of their size between A and B."""
    tensors = drawn(seed)
    for layer in LAYERS:
        tensors[f"{layer}.A"], tensors[f"{layer}.B"] = (
            tensors[f"{layer}.A"] * 2.0**power,
            tensors[f"{layer}.B"] / 2.0**power,
        )
    assert not screened([update("A", tensors)]).refused
