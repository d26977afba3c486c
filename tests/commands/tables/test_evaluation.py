# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from flap_sam.commands.tables.evaluation import RULES, evaluation_table, extra_text
from flap_sam.records.scores import CaseScore, Overlap

SEGMENTED, MISSED = Overlap(true=100, predicted=100, both=80), Overlap(true=50, predicted=0, both=0)
FALSE, ABSENT = Overlap(true=0, predicted=300, both=0), Overlap(true=0, predicted=0, both=0)


def case(name, first, second, distances=(None, None), surfaces=(None, None)) -> CaseScore:
    return CaseScore(name, (first, second), 0.01, distances, surfaces)


SCORES = [
    case("one", SEGMENTED, FALSE, (2.5, None), (0.75, None)),
    case("two", SEGMENTED, ABSENT, (4.5, None), (0.25, None)),
    case("three", MISSED, MISSED, (90.0, 80.0), (0.0, 0.0)),
]


def rows() -> list[list[str]]:
    lines = evaluation_table(SCORES, ["organ", "lesion"], 2.0).splitlines()
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]


def test_a_row_is_a_case_and_a_class_in_millilitres():
    assert rows()[:6] == [
        ["one", "organ", "segmented", "0.800", "2.5", "0.750", "1.00", "1.00", "0.20"],
        ["one", "lesion", "false positive", "-", "-", "-", "0.00", "3.00", "3.00"],
        ["two", "organ", "segmented", "0.800", "4.5", "0.250", "1.00", "1.00", "0.20"],
        ["two", "lesion", "absent", "-", "-", "-", "0.00", "0.00", "0.00"],
        ["three", "organ", "missed", "0.000", "90.0", "0.000", "0.50", "0.00", "0.00"],
        ["three", "lesion", "missed", "0.000", "80.0", "0.000", "0.50", "0.00", "0.00"],
    ]


def test_means_are_over_the_cases_that_have_the_class_and_say_what_was_missed():
    assert rows()[6:] == [
        ["organ", "3", "0.533 ± 0.462", "32.3 ± 50.0", "0.333 ± 0.382", "1 of 3", "0 of 0", "-"],
        ["lesion", "1", "0.000", "80.0", "0.000", "1 of 1", "1 of 2", "3.00"],
    ]
    assert RULES in evaluation_table(SCORES, ["organ", "lesion"], 2.0)


def test_a_long_name_is_never_cut():
    name = "hospital-of-a-town-with-a-long-name/case_" + "0123456789" * 12
    text = evaluation_table([case(name, SEGMENTED, ABSENT)], ["organ", "lesion"], 2.0)
    folded = "".join(line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│"))
    assert name in folded.replace("organ", "").replace("lesion", "")


def test_maps_without_truth_are_counted_and_named():
    assert extra_text([Path("/p/c.nii")]).startswith("1 label map not scored, ")
    assert extra_text([Path("/p/c.nii"), Path("/p/d.nii")]).splitlines()[1:] == ["  /p/c.nii", "  /p/d.nii"]
