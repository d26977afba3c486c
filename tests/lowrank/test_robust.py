# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch
from flap_sam.lowrank.factors import Factors
from flap_sam.lowrank.robust import (
    clip_weights,
    gram,
    hostile_sites,
    krum,
    median,
    shortcoming,
    squared_distances,
    trimmed_mean,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.lowrank.test_aggregate import drawn


def batch(seed: int, rank: int, scale: float = 1.0) -> Factors:
    layers = [drawn(10 * seed + i, 7, 12, rank) for i in range(3)]
    return Factors(torch.stack([f.A for f in layers]), torch.stack([f.B for f in layers]), scale)


def test_scalar_products_and_distances_are_those_of_the_dense_changes():
    updates = [batch(0, 2), batch(1, 5, 0.5), batch(2, 3, 2.0)]
    dense = torch.stack([u.change().flatten() for u in updates])
    torch.testing.assert_close(gram(updates), dense @ dense.mT)
    torch.testing.assert_close(
        squared_distances(gram(updates)), torch.cdist(dense, dense).square(), atol=1e-9, rtol=1e-9
    )


@given(st.integers(0, 49), st.integers(1, 200))
def test_the_hostile_are_whole_sites_and_never_half(percent, sites):
    found = hostile_sites(percent / 100, sites)
    assert found == percent * sites // 100
    assert 2 * found < sites


FEWEST = {("median", 0.2): 3, ("clip", 0.2): 3, ("trimmed-mean", 0.34): 3, ("trimmed-mean", 0.2): 5, ("krum", 0.2): 5}


@pytest.mark.parametrize(("rule", "share"), FEWEST)
def test_below_the_number_of_sites_at_which_it_means_anything_a_rule_is_refused(rule, share):
    fewest = FEWEST[rule, share]
    for sites in range(1, fewest):
        assert f"robust '{rule}'" in shortcoming(rule, share, sites)
    assert [shortcoming(rule, share, sites) for sites in range(fewest, 12)] == [None] * (12 - fewest)


@given(st.sampled_from(["trimmed-mean", "krum"]), st.integers(0, 49), st.integers(1, 60))
def test_a_rule_that_passes_withstands_the_sites_that_it_says(rule, percent, sites):
    f = percent * sites // 100
    good = f >= 1 and (sites >= 2 * f + 3 if rule == "krum" else sites > 2 * f)
    reason = shortcoming(rule, percent / 100, sites)
    assert (reason is None) == good
    if f < 1:
        assert f"hostile_share {percent / 100:g} withstands no site of {sites}" in reason


@given(st.integers(1, 60))
def test_the_share_that_is_named_protects_at_least_one_site(sites):
    named = float(re.search("raise hostile_share to ([0-9.]+)", shortcoming("krum", 0.0, sites))[1])
    assert hostile_sites(named, sites) >= 1


def test_no_rule_needs_nothing():
    assert shortcoming("none", 0.0, 1) is None


def test_clipping_shortens_whoever_is_longer_than_the_median():
    weights = clip_weights(torch.tensor([1.0, 2.0, 200.0, 0.0, 2.0]), [0.2] * 5)
    assert weights == pytest.approx([0.2, 0.2, 0.002, 0.2, 0.2])


@given(bad=st.integers(0, 5), factor=st.sampled_from([100.0, -100.0, -1.0]))
def test_krum_never_takes_the_one_that_stands_apart(bad, factor):
    honest = [torch.ones(8) + 0.1 * torch.randn(8, generator=torch.Generator().manual_seed(k)) for k in range(6)]
    honest[bad] = factor * honest[bad]
    stacked = torch.stack(honest).double()
    assert krum(torch.cdist(stacked, stacked).square(), 1) != bad


def test_krum_of_equals_takes_the_first_and_of_few_none():
    assert krum(torch.zeros(5, 5), 1) == 0
    assert krum(torch.tensor([[0.0, 9, 9], [9, 0, 1], [9, 1, 0]]), 0) == 1
    with pytest.raises(ValueError, match="at least 5 are needed"):
        krum(torch.zeros(4, 4), 1)


@given(st.permutations(range(5)))
def test_krum_goes_with_its_site(order):
    points = torch.tensor([[0.0, 0], [1, 0], [0.5, 0.1], [9, 9], [0.4, 0.3]], dtype=torch.float64)
    chosen = krum(torch.cdist(points, points).square(), 1)
    moved = points[list(order)]
    assert order[krum(torch.cdist(moved, moved).square(), 1)] == chosen


@pytest.mark.parametrize("sites", [1, 2, 5, 6])
def test_the_median_is_torchs_by_quantile(sites):
    stacked = torch.randn(sites, 3, 4, generator=torch.Generator().manual_seed(sites))
    torch.testing.assert_close(median(stacked), stacked.double().quantile(0.5, dim=0))


def test_the_trimmed_mean_stays_within_the_honest_ones():
    honest = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(1))
    spoilt = torch.cat([honest, torch.full((1, 4, 3), 1e6), torch.full((1, 4, 3), -1e6)])
    middle = trimmed_mean(spoilt, 2)
    assert (middle >= honest.min(0).values).all()
    assert (middle <= honest.max(0).values).all()
    torch.testing.assert_close(trimmed_mean(honest, 0), honest.double().mean(0))
