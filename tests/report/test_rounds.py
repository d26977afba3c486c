# SPDX-License-Identifier: Apache-2.0
"""What happened in the rounds, from made-up runs."""

import pytest
from flap_sam.report import rounds
from flap_sam.report.rounds import full_up, spans
from flap_sam.report.run import read
from flap_sam.sam.inventory import full_fine_tuning
from hypothesis import given
from hypothesis import strategies as st

from tests.report.runs import EXPERIMENT, LAYERS, absences, made_run, withheld


def run_of(folder, **settings):
    made_run(folder, **settings)
    return read(folder)


def test_every_site_has_its_attendance_and_who_was_left_out_its_reason(tmp_path):
    section = rounds.attendance(run_of(tmp_path, change=absences))
    counted, left_out = section.tables
    assert [list(row) for row in counted.rows] == [
        ["site-1", "10", "1", "2", "0", "0"],
        ["site-2", "11", "2", "0", "1", "1"],
        ["site-3", "12", "3", "0", "0", "0"],
    ]
    assert [row[:3] for row in left_out.rows] == [
        ["site-1", "refused", "0 to 1"],
        ["site-2", "missing", "1"],
        ["site-2", "late", "2"],
    ]
    assert len(rounds.attendance(run_of(tmp_path / "well")).tables) == 1


def test_a_site_that_never_counted_has_a_dash_for_its_slices(tmp_path):
    def never(record):
        return record.changed(sites={n: s for n, s in record.sites.items() if n != "site-1"}, missing=["site-1"])

    (counted, _) = rounds.attendance(run_of(tmp_path, change=never)).tables
    assert counted.rows[0] == ["site-1", "-", "0", "0", "3", "0"]


def test_traffic_is_summed_by_site_and_compared_with_as_many_answers(tmp_path):
    found = run_of(tmp_path, change=absences)
    (table,) = rounds.traffic(found).tables
    assert table.rows[0] == ["site-1", "1.25", "0.00", "1.25", "0.00", "1.25"]
    assert table.rows[2] == ["site-3", "1.25", "0.00", "3.75", "0.00", "3.75"]
    assert table.foot[0][3:] == ["7.50", "0.00", "7.50"]
    assert full_up(found) == full_fine_tuning(EXPERIMENT).whole.sent * 4 * 6, "6 answers counted"
    own, full = rounds.traffic(found).bars
    assert own.share / full.share == pytest.approx(7.5e6 / full_up(found))
    assert max(own.share, full.share) == 1


@pytest.mark.parametrize("layers", [LAYERS, ()])
def test_only_a_method_with_adapters_has_what_the_svd_kept(tmp_path, layers):
    found = run_of(tmp_path, layers=layers)
    sections = rounds.low_rank(found)
    assert len(sections) == bool(layers)
    for section in sections:
        (table,) = section.tables
        assert table.rows == [
            ["encoder 0 q", "90.000", "90.000", "0.3"],
            ["decoder 0 self v", "95.000", "95.000", "0.4"],
        ]
        assert [figure.title.split()[0] for figure in section.figures] == ["Energy", "Norm", "Norm"]


def test_what_every_site_withholds_is_not_drawn(tmp_path):
    section = rounds.training(run_of(tmp_path, change=withheld))
    assert (list(section.figures), section.sentences) == ([], ["The sites withhold loss and time."])
    told = rounds.training(run_of(tmp_path / "told"))
    assert (len(told.figures), list(told.sentences)) == (2, [])


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([4], "4"), ([0, 1, 2, 5], "0 to 2, 5"), ([1, 3, 4], "1, 3 to 4")]
)
def test_spans(numbers, text):
    assert spans(numbers) == text


@given(st.sets(st.integers(0, 30)))
def test_spans_are_all_the_numbers_and_no_other(numbers):
    text, found = spans(sorted(numbers)), []
    for part in filter(None, text.split(", ")):
        first, _, last = part.partition(" to ")
        found += range(int(first), int(last or first) + 1)
    assert found == sorted(numbers)
    assert text.count(",") == max(0, sum(n - 1 not in numbers for n in numbers) - 1), "as few as can be"
