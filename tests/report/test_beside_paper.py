# SPDX-License-Identifier: Apache-2.0
"""Every planned row stands beside the paper's, whatever is finished of it."""

import itertools
import random

import pytest
from flap_sam.config.paper import DATA_SETS, settings_for
from flap_sam.records.run_record import CENTRALIZED, FEDERATED, LOCAL
from flap_sam.report import comparison, comparison_page
from flap_sam.report.beside_paper import parts
from flap_sam.report.claims import Side

from tests.report.cells import row

LABELS = ("fullft", "decft", "loraft", "flap_sam", "flap_sam, rank 4", "flap_sam, dora")
PLANNED = [Side(*side) for side in itertools.product(LABELS, (FEDERATED, LOCAL, CENTRALIZED))]
PLANNED += [Side("masam", CENTRALIZED)] * 3
CELLS = [
    *row(0.50, 0.54),
    *row(0.30, 0.32, setting=LOCAL),
    *row(0.55, setting=CENTRALIZED),
    *row(0.45, 0.44, method="fullft"),
    *row(0.40, method="decft"),
    *row(0.52, method="masam", setting=CENTRALIZED),
]


def lines(cells) -> dict[Side, list[str]]:
    _, _, table, _ = parts(cells, comparison.rows(cells), PLANNED)
    body = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()[2:]]
    return {Side(*line[:2]): line[2:] for line in body}


def test_ours_and_the_papers_stand_in_turn():
    found = lines(CELLS)
    assert found.keys() == {*PLANNED}
    assert found[Side("flap_sam", FEDERATED)] == [
        *("0.530 ± 0.028", "0.605"),
        *("0.2100 ± 0.0141", "0.0977"),
        *("20.0", "48.9"),
    ]
    waiting, unknown = "not run yet", "not at hand"
    assert found[Side("decft", FEDERATED)] == ["0.410", "0.507", waiting, "0.0855", "13.3", "23.2"], "no local run yet"
    assert found[Side("loraft", FEDERATED)] == [waiting, "0.369", waiting, unknown, waiting, "66.1"]
    assert found[Side("flap_sam, dora", FEDERATED)] == [waiting, unknown] * 3
    assert found[Side("masam", CENTRALIZED)] == ["0.530", unknown, *"----"]


def test_the_rows_stand_in_the_papers_order():
    labels = list(dict.fromkeys(side.label for side in lines(CELLS)))
    assert labels == ["fullft", "decft", "loraft", "flap_sam", "flap_sam, dora", "flap_sam, rank 4", "masam"]
    assert [side.setting for side in lines(CELLS)][:3] == [LOCAL, FEDERATED, CENTRALIZED]


def test_on_another_data_set_none_of_its_figures_is_at_hand():
    found = lines([cell.changed(settings={**cell.settings, "dataset": "ixi"}) for cell in CELLS])
    assert {text for line in found.values() for text in line[1::2]} == {"not at hand", "-"}


@pytest.mark.parametrize("seed", range(5))
def test_the_page_is_there_whatever_is_finished(tmp_path, seed):
    draw = random.Random(seed)
    cells = draw.sample(CELLS, draw.randint(1, len(CELLS)))
    comparison_page.write(tmp_path / "page.md", cells, (1, 2), 40, PLANNED)
    text = (tmp_path / "page.md").read_text()
    assert text.count("\n## Beside the paper\n") == 1
    assert all(f"| {label} | {setting} | " in text for label, setting in PLANNED)
    comparison_page.write(tmp_path / "page.md", cells, (1, 2), 40)
    assert "Beside the paper" not in (tmp_path / "page.md").read_text()


def departures(cells) -> str:
    return [*parts(cells, comparison.rows(cells), PLANNED)][1]


def test_what_is_not_the_papers_is_said():
    told = departures(CELLS)
    for text in (
        "volumes of made in place of kits19",
        "backbone vit_tiny (in the paper vit_b)",
        "rounds 3 (in the paper",
    ):
        assert text in told
    assert "method" not in told, "it is varied"
    (one,) = row(0.5)
    assert "data set liver, which it does not have" in departures(
        [one.changed(settings={**one.settings, "dataset": "liver"})]
    )


@pytest.mark.parametrize("dataset", DATA_SETS)
def test_nothing_is_said_of_runs_as_the_papers(dataset):
    (one,) = row(0.5)
    settings = {**one.settings, **settings_for(dataset), "dataset": dataset}
    same = one.changed(settings=settings, data=one.data.changed(source=f"{dataset}-published"))
    assert departures([same]) == "The settings of these runs are the paper's."
