# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from flap_sam.commands.tables.prediction import prediction_table
from flap_sam.inference.predict import Prediction

DONE = [
    Prediction("a", (1234.56, 0.0), notes=("a.nii is in the unit metre.",)),
    Prediction("b", None, error="/scans/" + "deep/" * 40 + "b.nii cannot be read."),
    Prediction("c", (0.04, 2.25)),
]


def test_volumes_stand_by_scan_and_class_and_a_failure_has_none():
    text = prediction_table(DONE, ["kidney", "tumour"], Path("/out"))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert rows == [["a", "1,234.6", "0.0"], ["b", "-", "-"], ["c", "0.0", "2.2"]]


def test_notes_and_failures_are_whole_lines_and_the_last_one_counts():
    lines = prediction_table(DONE, ["kidney", "tumour"], Path("/out")).splitlines()
    assert "note on a: a.nii is in the unit metre." in lines
    assert f"b: {DONE[1].error}" in lines
    assert lines[-1] == "2 of 3 scans segmented, in /out"
