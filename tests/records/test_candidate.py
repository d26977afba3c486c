# SPDX-License-Identifier: Apache-2.0
"""Which payload is kept as the best, beside a computation of its own over the table of all Dice."""

import numpy as np
import pytest
from flap_sam.errors import FlapSamError
from flap_sam.records.candidate import Candidate, check_class, improves, is_stale
from hypothesis import given
from hypothesis import strategies as st

CLASSES = 2
KNOWN = st.integers(0, 64).map(lambda n: n / 64)
DICE = st.none() | KNOWN
VALIDATION = st.dictionaries(st.sampled_from("ABCD"), st.lists(DICE, min_size=CLASSES, max_size=CLASSES))
BEST_BY = st.none() | st.integers(1, CLASSES)


def candidates(found: list[dict]) -> list[Candidate]:
    return [Candidate({}, number, validation) for number, validation in enumerate(found, 1)]


def kept(found: list[Candidate], best_by: int | None) -> Candidate:
    best = None
    for candidate in found:
        if improves(candidate, best, best_by):
            best = candidate
    return best


def table(validation: dict, best_by: int | None) -> np.ndarray:
    """Dice by site and class, NaN where unknown; a class that does not decide is unknown."""
    rows = [validation.get(site, [None] * CLASSES) for site in "ABCD"]
    found = np.array(rows, dtype=float)
    if best_by:
        found[:, [c for c in range(CLASSES) if c != best_by - 1]] = np.nan
    return found


@given(VALIDATION, VALIDATION, BEST_BY)
def test_two_are_compared_on_what_has_scored_both(new, old, best_by):
    new_table, old_table = table(new, best_by), table(old, best_by)
    both = ~np.isnan(new_table) & ~np.isnan(old_table)
    means = [
        np.mean([dice[site][both[site]].mean() for site in range(4) if both[site].any()]) if both.any() else None
        for dice in (new_table, old_table)
    ]
    if np.isnan(old_table).all():
        expected = True
    elif means[0] is None:
        expected = False
    elif means[0] == pytest.approx(means[1], abs=1e-12):
        return  # a tie but for rounding
    else:
        expected = means[0] > means[1]
    assert improves(Candidate({}, 2, new), Candidate({}, 1, old), best_by) == expected


@given(st.lists(VALIDATION, min_size=1), BEST_BY)
def test_what_nobody_has_scored_changes_nothing(found, best_by):
    """With the rounds that nobody scored taken out, the same one is the best."""
    run = candidates(found)
    scored = [c for c in run if not np.isnan(table(c.validation, best_by)).all()]
    assert kept(run, best_by) is (kept(scored, best_by) if scored else run[-1])


@given(st.lists(st.lists(KNOWN, min_size=2, max_size=2), min_size=1))
def test_where_all_sites_score_all_the_best_has_the_highest_mean(found):
    run = candidates([{"A": dice} for dice in found])
    assert kept(run, None).dice == pytest.approx(max(sum(dice) / 2 for dice in found))


def test_a_hard_site_that_answers_later_does_not_hide_a_better_payload():
    easy = Candidate({}, 1, {"easy": [0.9]})
    both = Candidate({}, 2, {"easy": [0.95], "hard": [0.2]})
    assert both.dice < easy.dice
    assert improves(both, easy)
    assert not improves(Candidate({}, 3, {"hard": [0.99]}), easy), "no site has scored both"


def test_patience_counts_from_the_best():
    best = Candidate({}, 4, {"A": [0.5]})
    assert [is_stale(best, current, 2) for current in (5, 6, 7)] == [False, False, True]
    assert not is_stale(best, 99, None)
    assert not is_stale(None, 99, 1)


def test_the_class_that_decides_is_one_of_the_experiment():
    check_class(None, 2), check_class(2, 2)
    with pytest.raises(FlapSamError, match="best_by is class 3; the experiment has classes 1 to 2"):
        check_class(3, 2)
