# SPDX-License-Identifier: Apache-2.0
import pytest
from flap_sam.records.run_record import FEDERATED, LOCAL
from flap_sam.report import comparison
from flap_sam.report.claims import CLAIMS, NO, OURS, UNDECIDED, YES, Claim, Side, Verdict, verdicts

from tests.report.cells import row

SEEDS = (1, 2, 3)
ALONE, FEWER, SAMED = (Side(*s) for s in (("flap_sam", LOCAL), ("pdecft", FEDERATED), ("loradecft", FEDERATED)))


def judged(claim: Claim, *cells: list[dict]) -> Verdict:
    assert claim in CLAIMS
    rows = comparison.rows([cell for row in cells for cell in row])
    return next(verdict for verdict in verdicts(rows, SEEDS) if verdict.claim == claim)


@pytest.mark.parametrize(
    ("others", "answer"),
    [
        ((0.30, 0.31, 0.33), YES),  # differences of 0.20, 0.20, 0.20
        ((0.70, 0.72, 0.75), NO),
        ((0.40, 0.60, 0.53), UNDECIDED),  # of 0.10, -0.09, 0: the mean is smaller than the spread
        ((0.50, 0.51, 0.53), UNDECIDED),  # of 0
        ((0.20, 0.21, 0.54), UNDECIDED),  # of 0.30, 0.30, -0.01: one seed says the contrary
    ],
)
@pytest.mark.parametrize("other", [ALONE, FEWER])
def test_what_beats_is_better_by_more_than_the_spread(other, others, answer):
    ours = row(0.50, 0.51, 0.53)
    assert judged(Claim(OURS, other), ours, row(*others, setting=other.setting, method=other.label)).answer == answer


@pytest.mark.parametrize(
    ("others", "megabytes", "answer"),
    [
        ((0.30, 0.31, 0.33), 4, YES),
        ((0.40, 0.60, 0.53), 4, YES),
        ((0.51, 0.52, 0.54), 4, YES),  # lower by 0.01 every time: less than the other's spread of 0.015
        ((0.52, 0.53, 0.55), 4, NO),  # by 0.02
        ((0.40, 0.60, 0.53), 1, NO),  # reached, but with more traffic
    ],
)
def test_what_reaches_is_not_below_by_more_than_the_others_spread_and_sends_less(others, megabytes, answer):
    cells = row(0.50, 0.51, 0.53), row(*others, method="loradecft", up=megabytes)
    assert judged(Claim(OURS, SAMED, saves=True), *cells).answer == answer


def test_the_figures_are_those_of_the_cells():
    cells = row(0.5, 0.6, 0.7), row(0.4, 0.4, 0.4, method="loradecft")
    assert judged(Claim(OURS, SAMED, saves=True), *cells).figures == (
        "0.610 ± 0.100 against 0.410 ± 0.000, difference +0.200 ± 0.100 (+0.100, +0.200, +0.300); 2 times less traffic"
    )
    more = judged(Claim(OURS, FEWER), row(0.5, 0.6, 0.7), row(0.4, 0.4, 0.4, method="pdecft"))
    assert more.figures.endswith("; 4 times the traffic")


def test_seeds_are_compared_with_themselves():
    cells = row(0.1, 0.5, 0.9), row(0.05, 0.44, 0.86, method="pdecft")
    assert judged(Claim(OURS, FEWER), *cells).answer == YES, "0.05 ± 0.01, though the rows spread over 0.4"


def test_nothing_is_decided_before_all_is_there():
    claim = Claim(OURS, FEWER)
    ours, others = row(0.5, 0.5, 0.5), row(0.1, 0.1, 0.1, method="pdecft")
    assert judged(claim, ours, others).answer == YES
    found = judged(claim, ours, others[:2])
    assert (found.answer, found.figures.split(";")[0]) == (UNDECIDED, "federated pdecft: 2 of 3 seeds")
    assert "difference +0.400 ± 0.000 (+0.400, +0.400)" in found.figures, "and yet what is there is told"
    found = judged(claim, others)
    assert (found.answer, found.figures) == (UNDECIDED, "federated flap_sam: 0 of 3 seeds")
    alone = row(0.1, 0.1, 0.1, setting=LOCAL)
    assert judged(Claim(OURS, ALONE), ours, alone).answer == YES
    assert "local flap_sam: 2 of 3 seeds" in judged(Claim(OURS, ALONE), ours, alone[:-1]).figures, "a site is missing"


def test_one_seed_decides_nothing():
    table = comparison.rows(row(0.5) + row(0.1, method="pdecft"))
    found = next(v for v in verdicts(table, [1]) if v.claim == Claim(OURS, FEWER))
    assert (found.answer, found.figures.split(";")[0]) == (UNDECIDED, "0.510 against 0.110, difference +0.400 (+0.400)")


def test_claims_on_rows_that_nobody_ran_are_left_out():
    assert verdicts(comparison.rows(row(0.5, method="decft", up=1)), SEEDS) == []
    assert {str(v.claim) for v in verdicts(comparison.rows(row(0.5, rank=4)), SEEDS)} == {
        "federated flap_sam, rank 4 reaches federated flap_sam with less traffic"
    }
