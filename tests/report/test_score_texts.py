# SPDX-License-Identifier: Apache-2.0
"""What scores are in a table."""

from flap_sam.foundation.text import with_spread
from flap_sam.report.score_texts import (
    by_class,
    dice_row,
    has_counts,
    has_surfaces,
    n_known,
    of_n,
    outcome_texts,
    sites_of,
    surface_texts,
)

from tests.report.runs import evaluation_of

PLAIN = evaluation_of(0.5)
PRIVATE = PLAIN.changed(
    test_cases=None, test_with=[None, None], test_missed=[None, None], test_false_positives=[None, None]
)


def test_the_sites_of_all_payloads_are_in_the_order_of_their_numbers():
    payloads = {"final": {"site-10": PLAIN, "site-2": PLAIN}, "best": {"site-3": PLAIN}}
    assert sites_of(payloads) == ["site-2", "site-3", "site-10"]


def test_a_row_has_every_payloads_dice_and_dashes_where_a_site_did_not_score():
    payloads = {"final": {"A": PLAIN}, "best": {"A": evaluation_of(1.0), "B": PLAIN}}
    own = ["0.500 ± 0.125 n=3", "-", "0.500"]
    assert dice_row(payloads, "A", 2, with_spread) == ["4", *own, "1.000 ± 0.125 n=3", "-", "1.000"]
    assert dice_row(payloads, "B", 2, with_spread) == ["4", "-", "-", "-", *own]
    assert dice_row(payloads, "B", 2, lambda value, spread: f"{value}/{spread}")[4] == "0.5/0.125 n=3"


def test_missed_are_of_the_cases_with_the_class_and_false_positives_of_those_without():
    assert outcome_texts(PLAIN) == ["1 of 3", "0 of 1", "0 of 0", "2 of 4"]


def test_what_is_withheld_is_a_dash_and_no_zero():
    assert outcome_texts(PRIVATE) == ["-"] * 4
    assert dice_row({"final": {"A": PRIVATE}}, "A", 2, with_spread) == ["-", "0.500 ± 0.125", "-", "0.500"]
    assert [has_counts(reports) for reports in ([PLAIN, PRIVATE], [PRIVATE], [])] == [True, False, False]
    partly = PLAIN.changed(test_cases=None)
    assert outcome_texts(partly) == ["1 of 3", "0 of -", "0 of 0", "2 of -"]


def test_surfaces_are_millimetres_then_shares():
    measured = PLAIN.changed(hausdorff=[3.25, None], surface_dice=[0.5, None])
    assert surface_texts(measured) == ["3.2", "-", "0.500", "-"]
    assert [has_surfaces(reports) for reports in ([PLAIN, measured], [PLAIN], [])] == [True, False, False]


def test_by_class_the_last_column_is_the_mean_over_classes():
    both = evaluation_of(0.5).changed(test=[0.5, 1.0])
    assert by_class([PLAIN, both]) == [(0.5, 0.5), (None, 1.0), (0.5, 0.75)]
    assert by_class([]) == []


def test_an_n_is_of_what_is_known_and_none_is_no_text():
    assert [n_known(values) for values in ([], [None], [0.0, None, 1.0])] == [0, 0, 2]
    assert [of_n(n) for n in (None, 0, 1, 12)] == ["", "", " n=1", " n=12"]
