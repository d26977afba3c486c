# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.records.cell import CELL, read, read_lines, write_lines
from flap_sam.records.results import TEST_DICE
from flap_sam.records.round_log import ROUND_LOG
from flap_sam.records.run_record import FEDERATED, LOCAL

from tests.report.cells import note, row
from tests.report.runs import EXPERIMENT, made_run

SITES = ("A", "B", "C")
DOCS = Path(__file__).parents[2] / "docs"


def test_a_cell_is_its_note_and_its_results(tmp_path):
    folder = made_run(tmp_path)
    written = note(FEDERATED, None, {"rank": 4}, 1, EXPERIMENT, SITES)
    written.write(folder)
    found = read(folder)
    assert found.key == written.key == (FEDERATED, None, EXPERIMENT.digest())
    assert dict(written).items() <= dict(found).items()
    assert found.dice.keys() == set(SITES), "by the store's names"
    assert found.up > 0 < found.down
    note(LOCAL, "A", {}, 1, EXPERIMENT, SITES).write(folder)
    assert (read(folder).up, read(folder).down) == (None, None), "nothing is sent without a federation"


def test_a_site_that_the_store_calls_by_a_number_keeps_its_name(tmp_path):
    sites = ("site-0", "site-1", "site-10", "site-2")
    folder = made_run(tmp_path, sites=sites)
    note(FEDERATED, None, {}, 1, EXPERIMENT, sites).write(folder)
    assert read(folder).dice == pytest.approx({site: 0.5 + k / 100 for k, site in enumerate(sites)})


def test_lines_are_read_as_they_were_written(tmp_path):
    cells = [*row(0.5, 0.6), *row(0.3, setting=LOCAL, method="decft")]
    write_lines(tmp_path / "cells.jsonl", cells)
    assert read_lines(tmp_path / "cells.jsonl") == cells


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("seed", "1", "seed is '1', expected a whole number"),
        ("data", {"source": "made", "slices": {"A": 1.5}, "sha256": ""}, "data.slices.A is 1.5, expected a whole"),
        ("sites", None, "sites is None, expected a list"),
        ("more", 1, "more is unknown"),
    ],
)
def test_a_damaged_note_or_line_is_named_with_its_field(tmp_path, field, value, sentence):
    folder = made_run(tmp_path)
    note(FEDERATED, None, {}, 1, EXPERIMENT, SITES).write(folder)
    (folder / CELL).write_text(json.dumps(json.loads((folder / CELL).read_text()) | {field: value}))
    with pytest.raises(FlapSamError) as caught:
        read(folder)
    assert f"Cell {folder} cannot be read ({sentence}" in str(caught.value)
    file = tmp_path / "cells.jsonl"
    write_lines(file, row(0.5, 0.6))
    first, second = file.read_text().splitlines()
    file.write_text(f"{first}\n{json.dumps(json.loads(second) | {field: value})}\n")
    with pytest.raises(FlapSamError) as caught:
        read_lines(file)
    assert f"Cells {file} are damaged: in line 2 {sentence}" in str(caught.value)


def test_a_cell_without_the_test_dice_of_its_final_payload_is_named(tmp_path):
    folder = made_run(tmp_path)
    note(FEDERATED, None, {}, 1, EXPERIMENT, SITES).write(folder)
    scores = json.loads((folder / TEST_DICE).read_text())
    del scores["payloads"]["final"]
    (folder / TEST_DICE).write_text(json.dumps(scores))
    with pytest.raises(FlapSamError, match=TEST_DICE):
        read(folder)


@pytest.mark.parametrize("setting", [FEDERATED, LOCAL])
def test_a_cell_whose_round_log_is_cut_off_is_named(tmp_path, setting):
    folder = made_run(tmp_path)
    note(setting, None, {}, 1, EXPERIMENT, SITES).write(folder)
    (folder / ROUND_LOG).write_text((folder / ROUND_LOG).read_text()[:-30])
    with pytest.raises(FlapSamError, match="is damaged: in line 3"):
        read(folder)


def test_cells_that_are_missing_are_one_sentence(tmp_path):
    with pytest.raises(FlapSamError, match=r"Cells .*none\.jsonl cannot be read"):
        read_lines(tmp_path / "none.jsonl")


@pytest.mark.parametrize("file", sorted(DOCS.glob("results*.jsonl")), ids=lambda path: path.name)
def test_published_cells_are_still_read_and_written_as_they_were(file, tmp_path):
    cells = read_lines(file)
    write_lines(tmp_path / "again.jsonl", cells)
    for before, again in zip(
        file.read_text().splitlines(), (tmp_path / "again.jsonl").read_text().splitlines(), strict=True
    ):
        found = json.loads(again)
        assert (found.pop("version"), found["run"].pop("version")) == (1, 2)
        assert found == json.loads(before)
