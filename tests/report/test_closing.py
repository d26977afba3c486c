# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.records.results import TEST_DICE, write_test_dice
from flap_sam.records.round_log import ROUND_LOG, append
from flap_sam.report.closing import closing_summary
from flap_sam.training.evaluate import evaluation

from tests.report.runs import record_of
from tests.training.cases import scored


@pytest.fixture
def finished(tmp_path):
    folder = tmp_path / "work" / "server" / "simulate_job" / "results"
    folder.mkdir(parents=True)
    first = record_of(0, ("site-1", "site-2"))
    demo = first.sites["site-2"].changed(demo=True)
    append(folder, first.changed(validation=0.125, sites=first.sites | {"site-2": demo}))
    site = [scored("a", (0.5, None)), scored("b", (1.0, None))]
    report = evaluation([scored("v", (0.5, None))], site, 2)
    other = evaluation([scored("v", (0.25, 0.25))], [scored("c", (0.25, 0.5), (3.25, None), (0.5, 0.0))], 2)
    reports = {"site-1": report, "site-2": other}
    write_test_dice(folder, {"final": reports, "best": reports}, 4, {"site-2": "scored the first 2 of 4 ranks"})
    return folder


def test_the_summary_holds_the_figures_and_the_place(finished):
    text = closing_summary(finished)
    mean = next(line for line in text.splitlines() if "mean of n sites" in line).split("│")
    assert [cell.strip() for cell in mean[3:6]] == ["0.500 n=2", "0.500 n=1", "0.562 n=2"]
    assert "0.750 ±0.35 n=2" in text, "mean and spread over the site's cases"
    assert "site-2 scored the first 2 of 4 ranks: its Dice is not the exported payload's" in text
    assert "3.2" in next(line for line in text.split("Surfaces")[1].splitlines() if "site-2" in line)
    assert "0.125 at the start, 0.375 at the end" in text
    assert "round 4" in text
    assert "THE DEMO: site-2 worked on drawn volumes" in text
    assert str(finished) in text


def test_the_summary_ends_with_what_to_do_next(finished):
    steps = closing_summary(finished).strip().partition("to go on:\n")[2].splitlines()
    assert [line.partition("flap-sam ")[2].split()[0] for line in steps] == ["report", "predict", "export"]
    assert f"--payload {finished / 'global_best.safetensors'} --input" in steps[1]


def test_a_damaged_run_is_one_sentence(finished):
    (finished / ROUND_LOG).unlink()
    with pytest.raises(FlapSamError, match="cannot be read"):
        closing_summary(finished)


def test_what_a_site_withholds_is_a_dash(finished):
    """Under differential privacy no count is told."""
    path = finished / TEST_DICE
    told = json.loads(path.read_text())
    site = told["payloads"]["final"]["site-1"]
    site["test_cases"] = None
    site["test_with"] = site["test_missed"] = site["test_false_positives"] = [None, None]
    path.write_text(json.dumps(told))
    rows = [line for line in closing_summary(finished).splitlines() if "│ site-1" in line]
    assert [cell.strip() for cell in rows[0].split("│")[2:4]] == ["-", "0.750 ±0.35"]
    assert [cell.strip() for cell in rows[1].split("│")[2:6]] == ["-"] * 4
