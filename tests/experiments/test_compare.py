# SPDX-License-Identifier: Apache-2.0
"""A plan is run once, cell by cell, and what is there is written down after each."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flap_sam.commands import main as cli
from flap_sam.commands.comparison import published
from flap_sam.config.job import Job
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError
from flap_sam.experiments import compare, presets
from flap_sam.experiments.plan import Grid, Plan
from flap_sam.records.cell import CELL, read_all, read_lines
from flap_sam.report import comparison

JOB = Path(__file__).parents[2] / "jobs/flap_sam_nifti"
QUICK = {"image_size": 32, "rounds": 1, "batch_size": 4, "backbone": "vit_tiny"}
ALONE = ("local", "centralized")
THERE = " cells are there already"


@pytest.fixture
def job(store, monkeypatch) -> Job:
    monkeypatch.setenv("FLAP_SAM_DATA", str(store))
    monkeypatch.setenv("FLAP_SAM_DEVICE", "cpu")
    return Job.read(JOB)


@pytest.fixture
def run(job, tmp_path):
    """Runs a plan into the folder `out`; the sentences of its failures, and what was said."""

    def go(grid: Grid, settings=ALONE, seeds=(1,), page=None, **fixed) -> tuple[list[str], list[str]]:
        said = []
        plan = Plan([grid], seeds, QUICK | fixed)
        return published(job, tmp_path / "out", plan, page).run(settings, None, said.append), said

    return go


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_what_is_there_is_not_run_again_and_the_table_holds_it_all(run, tmp_path):
    grid = Grid(ALONE, {"method": ["pdecft"]})
    failures, said = run(grid, seeds=(1, 2))
    assert failures == []
    assert said[0] == "0 of 8" + THERE
    assert len(said) == 1 + 2 * (3 + 1)
    assert run(grid, seeds=(1, 2)) == ([], ["8 of 8" + THERE])
    table = (tmp_path / "out/table.md").read_text().splitlines()
    assert table[0] == "|  | setting | A | B | C | mean of sites | MB up | MB down | minutes |"
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in table[2:]]
    assert rows == [["pdecft", "local"], ["pdecft", "centralized"]]
    assert all(line.count("±") >= 4 for line in table[2:])
    cells = read_lines(tmp_path / "out/cells.jsonl")
    assert len(cells) == 8
    own = comparison.rows(cells)[0].dice["B"]
    assert own == [cell.dice["B"] for cell in cells if cell.site == "B"], "a site's own model on its own cases"


def test_a_cell_tells_its_run_whole(run, tmp_path):
    run(Grid(["centralized"], {"method": ["pdecft"]}))
    (cell,) = lines(tmp_path / "out/cells.jsonl")
    assert cell["data"].items() >= {"source": "made", "slices": {"A": 4, "B": 7, "C": 3}}.items()
    assert cell["settings"].items() >= (QUICK | {"method": "pdecft", "seed": 1}).items()
    assert cell["run"]["attempts"][0]["versions"].keys() >= {"flap-sam", "torch", "nvflare"}
    assert cell["job"] == "flap_sam_nifti"


def test_other_settings_of_the_job_are_run_again(run, tmp_path):
    grid = Grid(["centralized"], {"method": ["pdecft"]})
    run(grid)
    (first,) = lines(tmp_path / "out/cells.jsonl")
    assert run(grid, learning_rate=0.5)[1][0] == "0 of 1" + THERE
    cells = lines(tmp_path / "out/cells.jsonl")
    assert first in cells, "it is not lost"
    assert len({cell["experiment"] for cell in cells}) == 2
    assert run(grid, learning_rate=0.5)[1] == ["1 of 1" + THERE]


def test_an_experiment_that_is_said_twice_is_run_once(run, tmp_path):
    twice = Grid(["centralized"], {"batch_size": [4, 4.0]})
    once = Grid(["centralized"], {"method": ["pdecft"]})
    assert len(run(Grid(["centralized"], {"method": ["pdecft"], "split": ["balanced"]}))[1]) == 2
    assert run(once)[1] == ["1 of 1" + THERE], "the default needs not be said"
    page = tmp_path / "page.md"
    assert run(once, page=page)[1] == ["1 of 1" + THERE]
    (row,) = comparison.rows(read_lines(page.with_suffix(".jsonl")))
    assert row.label == "pdecft", "the page's rows have the names of the plan"
    assert len(run(twice)[0]) == 1, "4.0 is no number of windows"


def test_what_is_set_for_all_cells_holds_in_those_that_read_it(job, tmp_path, monkeypatch):
    monkeypatch.setitem(job.settings, "rank", 8)
    plan = Plan([Grid(["federated"], {"method": ["pdecft", "loraft"]})], [1], {"split": "paper"})
    compared = published(job, tmp_path / "out", plan)
    found = [job.experiment(compared._changes(cell)) for cell in compared.cells.values()]
    assert {e.method: (e.rank, e.split) for e in found} == {"pdecft": (32, "balanced"), "loraft": (8, "paper")}
    with pytest.raises(FlapSamError, match="No cell of the comparison reads split; leave split=paper out of --set"):
        published(job, tmp_path / "out", Plan([Grid(["federated"], {"method": ["pdecft"]})], [1], {"split": "paper"}))
    for plan in (Plan([Grid(["local"], {})], [1], {"rnak": 2}), Plan([Grid(["local"], {"rnak": [2]})], [1])):
        with pytest.raises(FlapSamError, match="An experiment has no setting rnak; it has dataset, classes"):
            published(job, tmp_path / "out", plan)
    varied = Plan([Grid(["federated"], {"method": ["pdecft"], "rank": [4, 8]})], [1])
    names = [key[2] for key in published(job, tmp_path / "out", varied).cells]
    assert names == ["federated_method=pdecft_rank=4_seed=1", "federated_method=pdecft_rank=8_seed=1"], "no experiments"


def test_cells_of_other_data_are_neither_taken_nor_lost(run, tmp_path):
    grid = Grid(["centralized"], {"method": ["pdecft"]})
    run(grid)
    before = (tmp_path / "out/cells.jsonl").read_bytes()
    (tmp_path / "store/C").rename(tmp_path / "C")
    with pytest.raises(
        FlapSamError,
        match=r"holds cells of made \(training slices: A 4, B 7, C 3; manifests .*\), but .*B 7; manifests",
    ):
        run(grid)
    assert (tmp_path / "out/cells.jsonl").read_bytes() == before


def test_nor_are_cells_of_another_start(run, monkeypatch):
    grid = Grid(["centralized"], {"method": ["pdecft"]})
    run(grid)
    monkeypatch.setenv("FLAP_SAM_CHECKPOINT", "random")
    with pytest.raises(FlapSamError, match="cells that did not start from random weights"):
        run(grid)
    monkeypatch.setenv("FLAP_SAM_CHECKPOINT", "missing.pth")
    with pytest.raises(FlapSamError, match=r"Checkpoint missing\.pth cannot be read"):
        run(grid)


def test_the_page_is_there_after_every_cell_and_holds_all_settings(run, tmp_path, monkeypatch):
    page, grid = tmp_path / "docs/page.md", Grid(ALONE, {"method": ["flap_sam"]})
    run(grid, settings=["centralized"], page=page)
    assert "Finished cells: 1 of 4." in page.read_text()

    def stopped(*_, **__) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "train", stopped)
    page.unlink()
    with pytest.raises(KeyboardInterrupt):
        run(grid, settings=["local"], page=page)
    assert "Finished cells: 1 of 4." in page.read_text(), "what was there is written before the first run"


def test_what_the_page_holds_is_not_run_again_without_the_folder(run, tmp_path):
    page, grid = tmp_path / "docs/page.md", Grid(["centralized"], {"method": ["pdecft", "decft"]})
    run(Grid(["centralized"], {"method": ["pdecft"]}), page=page)
    before = lines(page.with_suffix(".jsonl"))
    shutil.rmtree(tmp_path / "out")
    assert run(grid, page=page)[1][0] == "1 of 2" + THERE
    assert "Finished cells: 2 of 2." in page.read_text()
    assert lines(page.with_suffix(".jsonl"))[:1] == before
    assert len(lines(tmp_path / "out/cells.jsonl")) == 1, "the folder holds what it ran"


def test_a_page_of_something_else_is_neither_taken_nor_lost(run, tmp_path, monkeypatch):
    page, grid = tmp_path / "page.md", Grid(["centralized"], {"method": ["pdecft"]})
    run(grid, page=page)
    cells = page.with_suffix(".jsonl")
    before = cells.read_bytes()
    with pytest.raises(FlapSamError, match=r"page\.jsonl holds 1 cell that this comparison does not ask for; choose"):
        run(grid, page=page, learning_rate=0.5)
    shutil.rmtree(tmp_path / "out")
    monkeypatch.setenv("FLAP_SAM_CHECKPOINT", "random")
    with pytest.raises(FlapSamError, match=r"page\.jsonl holds cells that did not start from .* another --page"):
        run(grid, page=page)
    monkeypatch.delenv("FLAP_SAM_CHECKPOINT")
    (tmp_path / "store/C").rename(tmp_path / "C")
    with pytest.raises(FlapSamError, match=r"page\.jsonl holds cells of made .* another --page"):
        run(grid, page=page)
    assert cells.read_bytes() == before
    cells.write_bytes(before[:-30])
    with pytest.raises(FlapSamError, match=r"page\.jsonl are damaged: in line 1 it is no JSON"):
        run(grid, page=page)


def test_a_cell_that_fails_is_named_and_the_others_go_on(run, tmp_path):
    failures, said = run(Grid(["centralized"], {"method": ["loraft"], "rank": [4, 0]}))
    assert len(failures) == 1
    assert "rank is 0" in failures[0]
    assert re.search(r"rank=0_seed=1 failed: .*rank is 0", said[1]), "what is refused is said before the others are run"
    there = [path.parent.name for path in (tmp_path / "out").rglob(CELL)]
    assert [name.rpartition("_")[0] for name in there] == ["centralized_method=loraft_rank=4_seed=1"]


def test_a_cell_that_the_machine_cannot_run_is_named(run, monkeypatch):
    def exhausted(*_, **__) -> None:
        raise torch.OutOfMemoryError("120 GB wanted\nand so on")

    monkeypatch.setattr(compare, "train", exhausted)
    failures, _ = run(Grid(["centralized"], {"method": ["pdecft", "decft"]}))
    assert failures == [
        f"centralized_method={method}_seed=1: It failed with OutOfMemoryError: 120 GB wanted"
        for method in ("pdecft", "decft")
    ]


def test_a_folder_is_named_without_what_breaks_paths(run, tmp_path):
    grid = Grid(["centralized"], {"method": ["loraft"], "ranks": [{"site-1": 2}], "dataset": ["CT/MR"]})
    assert run(grid)[0] == []
    assert run(grid)[1] == ["1 of 1" + THERE]
    (note,) = (tmp_path / "out").rglob(CELL)
    assert note.parent.name.startswith("centralized_method=loraft_ranks=--site-1---2-_dataset=CT-MR_seed=1_")


def test_what_cannot_be_is_refused(run, tmp_path):
    with pytest.raises(FlapSamError, match="no setting alone"):
        run(Grid(ALONE, {}), settings=["alone"])
    with pytest.raises(FlapSamError, match=r"let its name end with \.md"):
        run(Grid(ALONE, {}), page=tmp_path / "page.svg")
    assert not (tmp_path / "out").exists()


def test_a_run_costs_what_its_data_is(job, tmp_path):
    cells = published(job, tmp_path / "out", Plan([Grid(ALONE, {})], [1], QUICK))
    costs = {cell.site: cells._cost(cell) for cell in cells.cells.values()}
    assert costs == {"A": 4 / 14, "B": 7 / 14, "C": 3 / 14, None: 1.0}


@pytest.mark.slow
def test_a_federated_cell_runs_in_the_simulator(run, job, tmp_path):
    assert run(Grid(["federated"], {}), settings=["federated"])[0] == []
    otherwise, plan = replace(job, policy=RunPolicy(sites_a_round=2)), Plan([Grid(["federated"], {})], [1], QUICK)
    with pytest.raises(
        FlapSamError, match=r"of another run policy \(sites_a_round None, now 2\); choose another --out"
    ):
        published(otherwise, tmp_path / "out", plan)
    cell = read_all(tmp_path / "out")[0]
    assert cell.dice.keys() == {"A", "B", "C"}, "by the store's names"
    assert cell.up > 0.3 > cell.down, "in the only round nothing came down but the experiment"
    (folder,) = (tmp_path / "out").glob("federated_seed=1_*")
    assert not (folder / "work").exists()


def command(monkeypatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["flap-sam", "compare", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code


@pytest.mark.usefixtures("job")
def test_a_preset_is_run_with_settings_changed_and_in_part(tmp_path, monkeypatch, capsys):
    small = Plan([Grid(ALONE, {"method": ["pdecft"]})], (1, 2), {"rounds": 3, "batch_size": 4})
    monkeypatch.setitem(presets.PRESETS, "small", small)
    page = tmp_path / "page.md"
    words = ["--preset=small", f"--out={tmp_path / 'out'}", "--set=rounds=1", "--set=image_size=32", "--seeds=5"]
    assert command(monkeypatch, str(JOB), *words, "--settings=centralized", f"--page={page}") == 0
    (cell,) = lines(tmp_path / "out/cells.jsonl")
    assert (cell["seed"], cell["settings"]["rounds"], cell["settings"]["batch_size"]) == (5, 1, 4)
    assert "Finished cells: 1 of 4." in page.read_text()
    assert "Beside the paper" not in page.read_text()
    told = capsys.readouterr().out
    assert told.index("1 cell to run, about 0.") < told.index("0 of 1 cells are there already")
    assert "(centralized: 1 cell, 0." in told
    assert "│ pdecft " in told
    again = ["--settings=centralized", f"--page={page}"]
    assert command(monkeypatch, str(JOB), *words, *again) == 0
    assert "Nothing is left to run in centralized." in capsys.readouterr().out


@pytest.mark.usefixtures("job")
def test_the_papers_comparison_has_its_figures_beside_ours(tmp_path, monkeypatch):
    paper = replace(presets.PRESETS["paper"], grids=[Grid(ALONE, {"method": ["flap_sam"]})])
    monkeypatch.setitem(presets.PRESETS, "paper", paper)
    page, small = tmp_path / "page.md", ("rounds=1", "image_size=32", "backbone=vit_tiny", "augmentation=none")
    words = ["--preset=paper", "--settings=centralized", f"--out={tmp_path / 'out'}", f"--page={page}"]
    assert command(monkeypatch, str(JOB), *words, *(f"--set={setting}" for setting in small)) == 0
    text = page.read_text()
    assert "| flap_sam | local | not run yet | not at hand |" in text
    for told in ("data set nifti, which it does not have", "backbone vit_tiny (in the paper vit_b)"):
        assert told in text


@pytest.mark.usefixtures("job")
def test_a_failure_is_told_at_the_end_and_in_the_status(tmp_path, monkeypatch, capsys):
    words = [f"--out={tmp_path / 'out'}", "--settings=centralized", "--vary=rank=0"]
    assert command(monkeypatch, str(JOB), *words) == 1
    assert "rank is 0" in capsys.readouterr().err
    assert command(monkeypatch, str(JOB), *words, "--preset=small") == 1
    assert "leave out --vary or --preset" in capsys.readouterr().err
