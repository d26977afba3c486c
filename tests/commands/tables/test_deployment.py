# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from flap_sam.commands.tables.deployment import check_text, staged_text
from flap_sam.config.experiment import Experiment
from flap_sam.deployment.check import CheckResult
from flap_sam.deployment.stage import Staged


def test_what_is_staged_is_told_whole(small):
    experiment = small.changed(ranks={"site-2": 2})
    text = staged_text(Staged(Path("/jobs/copy"), experiment, {"server": ["a.B", "c.D"], "sites": ["e.F"]}))
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert ["server", "a.B"] in cells
    assert ["server", "c.D"] in cells
    assert ["sites", "e.F"] in cells
    assert {row[0] for row in cells} >= set(Experiment.model_fields)
    assert ["rank", "4"] in cells
    assert f"experiment {experiment.digest()}" in text.splitlines()
    assert "submit /jobs/copy" in text


@pytest.mark.parametrize("good", [True, False])
def test_every_look_is_a_line_and_a_fault_stands_out(good):
    text = check_text([CheckResult("gate", True, "as shipped"), CheckResult("data", good, "/nowhere")], None)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert rows == [["gate", "ok", "as shipped"], ["data", "ok" if good else "FAILS", "/nowhere"]]


def test_what_was_found_is_never_cut_and_can_hide_nothing():
    long, odd = "word " * 60, "a\x1b[2Jb"
    text = check_text([CheckResult("gate", False, long), CheckResult("data", False, odd)], None)
    assert text.count("word") == 60
    assert "\x1b" not in text
