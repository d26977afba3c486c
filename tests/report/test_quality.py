# SPDX-License-Identifier: Apache-2.0
"""How well a run segments, as the sections of its page."""

import base64

import pytest
from flap_sam.records.results import BEST, FINAL
from flap_sam.records.run_record import CENTRALIZED, LOCAL
from flap_sam.report import quality
from flap_sam.report.run import read

from tests.report.cells import row
from tests.report.runs import draw_pictures, evaluation_of, made_run


def run_of(folder, **settings):
    made_run(folder, **settings)
    return read(folder)


def test_every_payload_has_its_columns_and_the_foot_is_over_the_sites(tmp_path):
    section = quality.dice(run_of(tmp_path))
    tests, outcomes = section.tables
    assert list(tests.head) == [
        *("site", "cases"),
        *(f"{kind}, {name}" for kind in (FINAL, BEST) for name in ("class 1", "class 2", "mean")),
    ]
    assert [r[0] for r in tests.rows] == ["site-1", "site-2", "site-3"]
    assert tests.foot == [["mean of sites", "", *["0.510 ± 0.010 n=3", "-", "0.510 ± 0.010 n=3"] * 2]]
    assert len({len(r) for r in [tests.head, *tests.rows, *tests.foot]}) == 1
    assert outcomes.rows[0] == ["site-1", "1 of 3", "0 of 1", "0 of 0", "2 of 4"]
    assert len({len(r) for r in [outcomes.head, *outcomes.rows]}) == 1
    assert len(section.figures) == 2


def test_an_unfinished_run_has_its_validation_alone(tmp_path):
    section = quality.dice(run_of(tmp_path, finished=False))
    assert (len(section.figures), list(section.tables)) == (1, [])
    assert "final payload" not in section.figures[0].note


def test_surfaces_have_a_table_where_they_were_measured(tmp_path):
    found = run_of(tmp_path)
    measured = evaluation_of(0.5).changed(hausdorff=[3.0, None], surface_dice=[0.75, None])
    tests = {kind: dict(reports) | {"site-2": measured} for kind, reports in found.tests.items()}
    *_, surfaces = quality.dice(type(found)(**{**vars(found), "tests": tests})).tables
    assert surfaces.rows[1] == ["site-2", "3.0", "-", "0.750", "-"]
    assert len(quality.dice(found).tables) == 2


def test_classes_are_called_as_the_pictures_call_them_and_only_where_all_agree(tmp_path):
    assert "final, kidney" in quality.dice(run_of(tmp_path / "one", pictures=True)).tables[0].head
    made_run(tmp_path / "two")
    for site, names in (("site-1", ("kidney", "tumour")), ("site-2", ("liver", "tumour"))):
        draw_pictures(tmp_path / "two" / site, site, 3, names)
    assert "final, class 1" in quality.dice(read(tmp_path / "two")).tables[0].head


@pytest.mark.parametrize("setting", [LOCAL, CENTRALIZED])
def test_without_a_federation_the_curve_is_of_the_data_it_was_trained_on(tmp_path, setting):
    section = quality.dice(run_of(tmp_path, setting=setting, sites=["A"], layers=()))
    assert len(section.figures) == 2
    assert section.tables[0].rows[0][0] == "A"


def test_pictures_are_embedded_with_their_captions_and_colours(tmp_path):
    assert quality.pictures(run_of(tmp_path / "without")) == []
    found = run_of(tmp_path / "with", pictures=True, sites=["site-1"])
    (section,) = quality.pictures(found)
    assert [base64.b64decode(picture.content) for picture in section.pictures] == [png for _, png in found.pictures]
    assert section.pictures[0].text.startswith("site-1, Dice 0.")
    assert [name for _, name in section.colours] == ["kidney", "tumour"]
    assert len({colour for colour, _ in section.colours}) == 2


@pytest.mark.parametrize("federated", [True, False])
def test_a_grid_has_a_figure_where_something_travelled(federated):
    cells = [*row(0.3, setting=LOCAL), *(row(0.5) if federated else [])]
    section = quality.compared(cells)
    assert len(section.figures) == federated
    settings = ["local", "federated"] if federated else ["local"]
    assert [r[:2] for r in section.tables[0].rows] == [["flap_sam", setting] for setting in settings]
