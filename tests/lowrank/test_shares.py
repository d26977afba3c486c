# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import pytest
from flap_sam.lowrank.shares import FEWEST_SITES, capped, most_capped
from hypothesis import given
from hypothesis import strategies as st

KITS19 = {"A": 677, "B": 4093, "C": 3403, "D": 2144, "E": 1047, "F": 10938}
IXI = {"Guys": 249, "HH": 145, "IOP": 59}

SITES = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 10**9), min_size=1, max_size=9)
SHARES = st.sampled_from([0.1, 0.25, 1 / 3, 0.34, 0.5, 0.6, 0.75, 0.999, 1, 1.0])


@pytest.mark.parametrize("slices", [KITS19, IXI, {"A": 1}, {"A": 1, "B": 10**9}, {"A": 5, "B": 7, "C": 9}])
def test_published_federations_and_few_sites_keep_their_weights(slices):
    assert capped(slices, 0.6) == slices


@given(SITES, SHARES)
def test_no_site_has_more_than_the_share_and_nobody_gains_slices(slices, share):
    counted = capped(slices, share)
    assert list(counted) == list(slices)
    assert all(1 <= counted[site] <= slices[site] for site in slices)
    if len(slices) < FEWEST_SITES:
        assert counted == slices
    elif Fraction(str(share)) * len(slices) <= 1:
        assert len(set(counted.values())) == 1, "the share cannot be met: all count alike"
    else:
        assert max(counted.values()) <= Fraction(str(share)) * sum(counted.values())


@given(SITES.filter(lambda slices: len(slices) >= FEWEST_SITES), SHARES)
def test_only_who_is_above_the_share_is_lowered_and_no_more_than_needed(slices, share):
    """By water-filling in exact fractions, one site lowered at a time."""
    share_ = Fraction(str(share))
    if share_ * len(slices) <= 1:
        return
    exact = {site: Fraction(n) for site, n in slices.items()}
    lowered: set[str] = set()
    while above := {s for s, n in exact.items() if n > share_ * sum(exact.values())} - lowered:
        lowered |= above
        rest = sum(n for s, n in exact.items() if s not in lowered)
        exact |= dict.fromkeys(lowered, share_ * rest / (1 - share_ * len(lowered)))
    assert capped(slices, share) == {site: n.numerator // n.denominator for site, n in exact.items()}
    assert len(lowered) <= most_capped(share)


@given(st.lists(st.integers(1, 1000), min_size=3, max_size=6), st.integers(1, 10**9))
def test_whatever_a_site_claims_it_gets_no_more(others, claim):
    slices = {f"site-{k}": n for k, n in enumerate(others)}
    counted = capped({**slices, "greedy": claim}, 0.6)
    assert counted["greedy"] <= Fraction(3, 5) * sum(counted.values())
    assert all(counted[site] <= n for site, n in slices.items())
