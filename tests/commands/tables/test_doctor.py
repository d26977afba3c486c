# SPDX-License-Identifier: Apache-2.0
from flap_sam.commands.tables.doctor import report_table
from flap_sam.data.findings import Finding, Range, Report, SiteSummary

ONE = Range(2.0, 2.0, 2.0)
SOUND = SiteSummary(
    site="A",
    expected={"train": 9, "validation": 0, "test": 3},
    whole={"train": 8, "validation": 0, "test": 3},
    holding={"kidney": 11, "tumour": 5},
    ranges=dict.fromkeys(("slices", "row_mm", "column_mm", "lowest", "highest"), ONE)
    | {"slice_mm": Range(3.0, 1.25, 5.0)},
)
EMPTY = SiteSummary("B", expected={"train": 0, "validation": 0, "test": 0}, whole={}, holding={}, ranges={})
FINDINGS = (
    Finding("warning", "A", "case_1", "The mask is empty."),
    Finding("error", "A", "case_2", "/very/" + "long/" * 40 + "scan.nii.gz cannot be read."),
    Finding("error", "B", None, "There is no site table."),
)


def report(*findings):
    return Report("STORE", ("kidney", "tumour"), (SOUND, EMPTY), findings, ())


def test_the_tables_hold_the_figures():
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in report_table(report()).splitlines()]
    assert [line for line in lines if line] == [
        ["A", "8 of 9", "-", "3 of 3", "11", "5"],
        ["B", "-", "-", "-", "0", "0"],
        ["A", "2", "3 (1.25 to 5)", "2", "2", "2", "2"],
        ["B", "-", "-", "-", "-", "-", "-"],
    ]


def test_findings_are_whole_lines_errors_first():
    lines = report_table(report(*FINDINGS)).splitlines()
    assert [line for line in lines if line.startswith(("error", "warning"))] == [
        f"error: site A, case_2: {FINDINGS[1].sentence}",
        "error: site B: There is no site table.",
        "warning: site A, case_1: The mask is empty.",
    ]
    assert "STORE: 2 errors, 1 warning" in lines
