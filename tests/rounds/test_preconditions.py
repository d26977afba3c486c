# SPDX-License-Identifier: Apache-2.0
import pytest
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError
from flap_sam.rounds.preconditions import check
from flap_sam.training.progress import silent

THREE = ["A", "B", "C"]
REGISTERED = {"A": 5, "B": 6, "C": 7}


@pytest.mark.parametrize("missing", [["A"], ["B", "C"], THREE])
def test_every_site_of_a_deployed_federation_is_registered(small, missing):
    registered = {site: n for site, n in REGISTERED.items() if site not in missing}
    with pytest.raises(FlapSamError, match=f"largest_slices has none for {', '.join(missing)}; agree on"):
        check(small, RunPolicy(largest_slices=registered), THREE, deployed=True, say=silent)
    check(small, RunPolicy(largest_slices=registered), THREE, deployed=False, say=silent)
    check(small, RunPolicy(largest_slices=REGISTERED), THREE, deployed=True, say=silent)


def test_a_name_that_fits_no_site_is_told(small):
    said = []
    mistyped = RunPolicy(largest_slices={"A": 5, "B": 6, "c": 7})
    with pytest.raises(FlapSamError, match="c has an entry in largest_slices, but no such site is there; there are A"):
        check(small, mistyped, THREE, deployed=False, say=said.append)
    with pytest.raises(FlapSamError, match="has none for C; c has an entry in largest_slices, but no such site"):
        check(small, mistyped, THREE, deployed=True, say=said.append)
    check(small, RunPolicy(largest_slices={**REGISTERED, "D": 1}), THREE, deployed=True, say=said.append)
    assert said == ["D has an entry in largest_slices, and no such site is connected: the run starts without"]


def test_a_rank_for_a_name_that_fits_no_site_is_told(small):
    said = []
    mixed = small.changed(ranks={"A": 2, "b": 2, "D": 3})
    with pytest.raises(FlapSamError, match=r"D, b have entries in ranks, but no such site is there; there are A, B, C"):
        check(mixed, RunPolicy(), THREE, deployed=False, say=said.append)
    check(mixed, RunPolicy(largest_slices=REGISTERED), THREE, deployed=True, say=said.append)
    assert said == ["D, b have entries in ranks, and no such site is connected: the run starts without"]
    check(small.changed(ranks={"A": 2, "C": 1}), RunPolicy(), THREE, deployed=False, say=said.append)


def test_fewer_sites_than_the_operator_meant_do_not_start(small):
    with pytest.raises(FlapSamError, match="3 sites are connected; the job's min_sites is 4"):
        check(small, RunPolicy(min_sites=4), THREE, deployed=False, say=silent)


@pytest.mark.parametrize(
    ("rule", "share", "policy", "sites", "sentence"),
    [
        ("krum", 0.2, {}, 4, "robust 'krum' with hostile_share 0.2 withstands no site of 4"),
        ("krum", 0.34, {}, 6, r"robust 'krum' against 2 hostile \(hostile_share 0.34\) needs 7 sites, there are 6"),
        ("trimmed-mean", 0.0, {}, 9, "robust 'trimmed-mean' with hostile_share 0 withstands no site of 9"),
        ("median", 0.2, {}, 2, "robust 'median' needs 3 sites, there are 2"),
        ("clip", 0.2, {}, 1, "robust 'clip' needs 3 sites, there are 1"),
        ("krum", 0.2, {"min_sites": 3}, 6, "Rounds may close with 3 sites that count"),
        ("median", 0.2, {"sites_a_round": 2}, 6, "Rounds may close with 2 sites that count"),
    ],
)
def test_a_rule_that_would_protect_nothing_is_refused_before_the_run(small, rule, share, policy, sites, sentence):
    names = [f"site-{k}" for k in range(sites)]
    with pytest.raises(FlapSamError, match=sentence):
        check(small.changed(robust=rule, hostile_share=share), RunPolicy(**policy), names, deployed=False, say=silent)


@pytest.mark.parametrize(("rule", "sites"), [("krum", 5), ("trimmed-mean", 5), ("median", 3), ("clip", 3), ("none", 1)])
def test_a_rule_that_means_something_is_taken(small, rule, sites):
    check(small.changed(robust=rule), RunPolicy(), [f"site-{k}" for k in range(sites)], deployed=False, say=silent)
