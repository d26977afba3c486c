# SPDX-License-Identifier: Apache-2.0
"""A round's updates as one total a group and one mean a plain tensor, by every rule, beside dense arithmetic."""

import pytest
import torch
from flap_sam.config.experiment import ROBUST_RULES
from flap_sam.lowrank.gather import (
    Buffered,
    Clipped,
    Coordinatewise,
    Krum,
    SiteUpdate,
    Totals,
    WeightedMean,
    gatherer,
)
from flap_sam.lowrank.strategies import LayerGroup, Svd
from hypothesis import given
from hypothesis import strategies as st

from tests.lowrank.test_screen import LAYERS, OTHER, dense, drawn

GROUP = LayerGroup(LAYERS)


def strategy() -> Svd:
    return Svd([GROUP], 3, 0.5, "balanced", 1.0)


def updates(count: int, **last) -> list[SiteUpdate]:
    """Sites of 1, 2, 3 ... slices; the last one may be larger."""
    found = [SiteUpdate(f"s{k}", k + 1, drawn(k)) for k in range(count)]
    if last:
        found[-1] = SiteUpdate(found[-1].site, found[-1].weight, drawn(count - 1, **last))
    return found


def gathered(rule: str, sites, received=None, share=0.34) -> Totals:
    made = gatherer(rule, strategy(), share)
    made.fold(sites)
    return made.close(received or {})


def changes(tensors) -> torch.Tensor:
    return torch.stack([dense(tensors, layer) for layer in LAYERS])


def mixed(sites, weights, received=None) -> tuple[torch.Tensor, torch.Tensor]:
    """sum_k w_k T_k and what is missing to 1 of what was received, densely."""
    rest = 1 - sum(weights)
    parts = [(w, s.tensors) for w, s in zip(weights, sites, strict=True)] + ([(rest, received)] if received else [])
    return (
        sum(w * changes(t) for w, t in parts),
        sum(w * t[OTHER].double() for w, t in parts),
    )


def same(found: Totals, expected) -> None:
    torch.testing.assert_close(found.changes[GROUP.name].dense(), expected[0], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.means[OTHER], expected[1], rtol=1e-6, atol=1e-9)


def test_every_rule_has_a_gatherer_and_says_whether_it_waits_for_all():
    kinds = {rule: type(gatherer(rule, strategy(), 0.2)) for rule in ROBUST_RULES}
    assert kinds == {
        "none": WeightedMean,
        "clip": Clipped,
        "trimmed-mean": Coordinatewise,
        "median": Coordinatewise,
        "krum": Krum,
    }
    assert {rule: kind.whole_round for rule, kind in kinds.items()} == {rule: rule != "none" for rule in kinds}


@pytest.mark.parametrize("rule", ROBUST_RULES)
def test_what_belongs_to_no_group_is_averaged_for_itself(rule):
    found = gathered(rule, updates(5))
    assert (list(found.changes), list(found.means)) == ([GROUP.name], [OTHER])
    assert found.means[OTHER].dtype == torch.float64


@given(count=st.integers(1, 6), cut=st.integers(0, 6))
def test_the_mean_is_by_slices_however_it_is_folded(count, cut):
    sites, made = updates(count), gatherer("none", strategy(), 0.0)
    for part in (sites[:cut], sites[cut:]):
        if part:
            made.fold(part)
    whole = count * (count + 1) / 2
    same(made.close({}), mixed(sites, [s.weight / whole for s in sites]))


@pytest.mark.parametrize("received", [None, drawn(99)])
def test_clipping_shortens_the_long_ones_and_leaves_the_rest_to_what_was_received(received):
    sites = updates(5, adapters=50.0, others=50.0)
    start = received or {OTHER: torch.stack([s.tensors[OTHER] for s in sites]).median(0).values}
    before = changes(received) if received else torch.zeros(2, 7, 9, dtype=torch.float64)
    lengths = [
        (
            (changes(s.tensors) - before).square().sum() + (s.tensors[OTHER] - start[OTHER]).double().square().sum()
        ).sqrt()
        for s in sites
    ]
    middle = torch.stack(lengths).median()
    weights = [s.weight / 15 * min(1.0, (middle / n).item()) for s, n in zip(sites, lengths, strict=True)]
    assert weights[-1] < 0.1 * sites[-1].weight / 15
    expected = mixed(sites, weights, received)
    if not received:
        expected = expected[0], expected[1] + (1 - sum(weights)) * start[OTHER].double()
    same(gathered("clip", sites, received), expected)


def test_krum_takes_one_sites_update_whole_and_not_the_one_that_stands_apart():
    near = drawn(1)
    sites = [SiteUpdate(f"s{k}", 1, {n: t + 0.01 * (k + 1) for n, t in near.items()}) for k in range(4)]
    sites.append(SiteUpdate("s4", 1000, drawn(7, adapters=50.0, others=50.0)))
    found = gathered("krum", sites, share=0.2)
    taken = [k for k, s in enumerate(sites) if torch.allclose(found.means[OTHER], s.tensors[OTHER].double())]
    assert len(taken) == 1
    assert taken[0] < 4
    same(found, mixed(sites, [float(k == taken[0]) for k in range(5)]))


@pytest.mark.parametrize("count", [3, 4, 5])
def test_the_median_is_of_the_changes_number_by_number_and_no_site_weighs_more(count):
    sites = updates(count, adapters=1e6, others=1e6)
    found = gathered("median", sites)
    stacked = torch.stack([changes(s.tensors) for s in sites])
    torch.testing.assert_close(found.changes[GROUP.name].dense(), stacked.quantile(0.5, dim=0))
    others = torch.stack([s.tensors[OTHER].double() for s in sites])
    torch.testing.assert_close(found.means[OTHER], others.quantile(0.5, dim=0))


def test_the_trimmed_mean_leaves_out_as_many_ends_as_may_be_hostile():
    sites = updates(6, adapters=1e6, others=1e6)
    found = gathered("trimmed-mean", sites, share=0.34)
    stacked = torch.stack([changes(s.tensors) for s in sites]).sort(dim=0).values
    torch.testing.assert_close(found.changes[GROUP.name].dense(), stacked[2:4].mean(0))


class Weighed(Buffered):
    def close(self, received):
        raise NotImplementedError


@given(count=st.integers(2, 5), with_start=st.booleans())
def test_scalar_products_are_of_what_the_sites_changed(count, with_start):
    sites, received = updates(count), drawn(99) if with_start else {}
    buffered = Weighed(strategy(), 0.2)
    buffered.fold(sites)
    start = received[OTHER] if received else torch.stack([s.tensors[OTHER] for s in sites]).quantile(0.5, dim=0)
    moved = torch.stack(
        [
            torch.cat(
                [
                    (changes(s.tensors) - (changes(received) if received else 0)).flatten(),
                    (s.tensors[OTHER].double() - start.double()).flatten(),
                ]
            )
            for s in sites
        ]
    )
    torch.testing.assert_close(buffered.gram(received), moved @ moved.mT, rtol=1e-5, atol=1e-5)
    assert sum(buffered.shares()) == pytest.approx(1)


def test_an_update_knows_its_size():
    assert SiteUpdate("s", 1, drawn(0)).bytes == 4 * (2 * (3 * 9 + 7 * 3) + 4 * 5)
