# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from flap_sam.commands.tables.preparation import NAMED, outcome_text, strays_text
from flap_sam.data.difference import Difference
from flap_sam.data.prepare import SiteOutcome

SAME = Difference(kept=("a", "b"), changed={}, added=(), removed=(), moved={})


def outcome(cases=2, made_anew=None, found=None, taken_over=0, notes=None) -> SiteOutcome:
    return SiteOutcome("North", cases, made_anew, found, taken_over, notes or {})


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (outcome(1, "all new"), "site North: 1 case; all new"),
        (
            outcome(9, "all new", taken_over=4),
            "site North: 9 cases, 4 of them taken over from an interrupted preparation; all new",
        ),
        (outcome(found=SAME), "site North: 2 cases, all as they were"),
    ],
)
def test_a_site_is_a_line(told, line):
    assert outcome_text(told) == line


def test_every_kind_of_change_is_a_line_and_cases_of_one_reason_stand_together():
    found = Difference(
        kept=("a",),
        changed={"b": "its image changed", "c": "its label map changed", "d": "its image changed"},
        added=("e",),
        removed=("f", "g"),
        moved={"a": ("train", "test"), "b": ("test", "train"), "c": ("train", "test")},
    )
    notes = {"b": ("b.nii is odd.", "b.nii is odder.")}
    assert outcome_text(outcome(5, found=found, notes=notes)).splitlines() == [
        "site North: 5 cases; 1 kept",
        "  redone 2 (b, d): its image changed",
        "  redone 1 (c): its label map changed",
        "  added 1 (e)",
        "  removed 2 (f, g): no longer in the source",
        "  moved 2 (a, c): from train to test",
        "  moved 1 (b): from test to train",
        "  note on b: b.nii is odd.",
        "  note on b: b.nii is odder.",
    ]


@pytest.mark.parametrize("count", [1, NAMED, NAMED + 1, 500])
def test_of_many_cases_few_are_named_and_all_are_counted(count):
    added = tuple(f"case_{k}" for k in range(count))
    line = outcome_text(outcome(found=Difference((), {}, added, (), {}))).splitlines()[1]
    assert line.startswith(f"  added {count} (case_0")
    assert line.count("case_") == min(count, NAMED)
    assert (f"and {count - NAMED} more)" in line) == (count > NAMED)


def test_a_site_that_the_source_lacks_is_named_with_what_to_remove():
    assert strays_text([], Path("/store"), Path("/raw")) == ""
    assert strays_text(["A", "B"], Path("/store"), Path("/raw")).splitlines() == [
        f"site {s}: in /store, but not in /raw; it stays as it is, remove /store/{s} if it is no more" for s in "AB"
    ]
