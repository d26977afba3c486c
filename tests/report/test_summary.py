# SPDX-License-Identifier: Apache-2.0
"""The answer at a glance, and which sections stand below it."""

import pytest
from flap_sam.records.run_record import CENTRALIZED, FEDERATED, LOCAL
from flap_sam.report.run import read
from flap_sam.report.summary import DEMO, PATIENTS, notices, of_grid, of_run
from flap_sam.sam.weights import NOTICES

from tests.report.cells import row
from tests.report.runs import EXPERIMENT, absences, made_run


def page_of(folder, cells=(), **settings):
    made_run(folder, **settings)
    return of_run(read(folder), cells)


def ids(page) -> list[str]:
    return [section.id for section in page.sections]


def glance(page) -> dict[str, tuple[str, str]]:
    return {name: (value, remark) for name, value, remark in page.figures}


def test_a_federated_run_in_order(tmp_path):
    page = page_of(tmp_path, pictures=True)
    whole = ["dice", "training", "sites", "traffic", "low-rank", "pictures", "privacy", "configuration", "provenance"]
    assert ids(page) == whole
    assert page.title == "Federated run 20260102-030405-ab12"
    assert page.facts[0] == "flap_sam (LoRA, rank 4) on vit_tiny at 32 px, kits19, 2 classes"
    found = glance(page)
    assert found["Test Dice, final"] == ("0.510", "mean of the sites, ± 0.010 between them")
    assert found["Test Dice, best"] == ("0.510", "the last payload")
    assert found["Rounds"] == ("3 of 3", "6 s")
    assert found["Sites"] == ("3", "3 counted in a round")
    assert found["Sent by the sites"][0] == "11.2 MB"


@pytest.mark.parametrize("setting", [LOCAL, CENTRALIZED])
def test_a_run_without_a_federation_has_no_sections_of_one(tmp_path, setting):
    page = page_of(tmp_path, setting=setting, sites=["A"], layers=())
    assert not {"sites", "traffic", "low-rank"} & set(ids(page))
    assert glance(page)["Sites"] == ("1", "A")
    assert "Sent by the sites" not in glance(page)


def test_a_comparison_stands_right_after_the_dice(tmp_path):
    assert ids(page_of(tmp_path, cells=row(0.5)))[:2] == ["dice", "comparison"]


@pytest.mark.parametrize(
    ("settings", "good", "sentence"),
    [
        ({}, True, "Every site that was asked counted in every round."),
        (
            {"change": absences},
            False,
            "2 sites were left out at least once, in 2 of 3 rounds; see Sites and rounds.",
        ),
        ({"finished": False}, False, "The run has not finished: there is no test Dice yet. Every site that"),
        ({"experiment": EXPERIMENT.changed(rounds=9)}, True, "The run stopped early, after 3 of 9 rounds. Every"),
        ({"setting": LOCAL, "sites": ["A"], "layers": ()}, True, "The run is complete."),
    ],
)
def test_health_says_what_went_wrong_or_that_all_is_well(tmp_path, settings, good, sentence):
    well, told = page_of(tmp_path, **settings).health
    assert well == good
    assert told.startswith(sentence)


@pytest.mark.parametrize(("demo", "pictures", "expected"), [(False, True, PATIENTS), (True, True, DEMO)])
def test_pictures_of_patients_are_a_warning_and_those_of_the_demo_are_none(tmp_path, demo, pictures, expected):
    assert page_of(tmp_path, demo=demo, pictures=pictures).notices == [expected]


def test_notices_are_told_once_for_many_runs():
    runs = [(False, "checkpoint"), (True, "bundled"), (False, "bundled"), (True, "random")]
    assert notices(runs) == [DEMO, *NOTICES.values()]
    assert notices([(False, "checkpoint")] * 3) == []


def test_a_grid_is_told_by_what_its_cells_share_and_by_its_best():
    page = of_grid([*row(0.5, 0.6), *row(0.3, setting=LOCAL), *row(0.4, method="pdecft")])
    assert page.facts[:2] == ["vit_tiny, 32 px, kits19, 2 classes, 3 rounds", "varied: method, seed"]
    found = glance(page)
    assert found["Runs"] == ("5", "2 seeds: 1, 2")
    assert found["Sites"] == ("2", "A, B")
    assert found["Highest test Dice"] == ("0.560", f"flap_sam, {FEDERATED}")
    assert found["Time"] == ("5.0 min", "all runs together")
    assert (page.health, ids(page)) == (None, ["comparison", "configuration", "provenance"])
