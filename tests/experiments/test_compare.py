import json
from pathlib import Path

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.experiments.compare import Cell, compare, grid
from flap_sam.experiments.job import Job
from flap_sam.reporting import comparison

JOB = Path(__file__).parents[2] / "jobs/flap_sam_nifti"
QUICK = {"image_size": 32, "rank": 4, "rounds": 1, "batch_size": 4, "backbone": "vit_tiny"}


@pytest.fixture
def job(store, monkeypatch) -> Job:
    monkeypatch.setenv("FLAP_SAM_DATA", str(store))
    monkeypatch.setenv("FLAP_SAM_DEVICE", "cpu")
    return Job.read(JOB)


def test_the_grid_is_the_product_and_local_runs_are_one_a_site():
    cells = list(grid(["local", "federated"], {"method": ["a", "b"], "rank": [4]}, [1, 2], ["A", "B", "C"]))
    assert len(cells) == 2 * 2 * (3 + 1)
    assert len({cell.name for cell in cells}) == len(cells)
    assert Cell("local", {"method": "a", "rank": 4}, 1, "A") in cells


def test_what_is_there_is_not_run_again_and_the_table_holds_it_all(job, tmp_path):
    said = []

    def go(**more) -> list[str]:
        varied = more.get("varied", {"method": ["pdecft"]})
        return compare(job, tmp_path / "out", ["local", "centralized"], varied, [1, 2], QUICK, None, said.append)

    assert go() == []
    assert len(said) == 2 * (3 + 1)
    said.clear()
    assert go() == []
    assert all(line.endswith("there already") for line in said)
    table = comparison.write(tmp_path / "out")
    assert "centralized" in table
    lines = (tmp_path / "out/table.md").read_text().splitlines()
    assert lines[0] == "|  | setting | A | B | C | mean of sites | MB up | MB down | minutes |"
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in lines[2:]]
    assert rows == [["method pdecft", "local"], ["method pdecft", "centralized"]]
    assert all(line.count("±") >= 4 for line in lines[2:])
    cells = [json.loads(line) for line in (tmp_path / "out/cells.jsonl").read_text().splitlines()]
    assert len(cells) == 8
    own = comparison.rows(cells)[0].dice["B"]
    assert own == [cell["dice"]["B"] for cell in cells if cell["site"] == "B"], "a site's own model on its own cases"


def test_a_cell_that_fails_is_named_and_the_others_go_on(job, tmp_path):
    fixed, varied = QUICK | {"method": "pdecft"}, {"rank": [0, 4]}
    failures = compare(job, tmp_path / "out", ["centralized"], varied, [1], fixed, None, lambda _: None)
    assert len(failures) == 1
    assert "rank is 0" in failures[0]
    assert [path.parent.name for path in (tmp_path / "out").rglob(comparison.CELL)] == ["centralized_rank=4_seed=1"]


def test_a_setting_that_is_none_is_refused(job, tmp_path):
    with pytest.raises(FlapSamError, match="no setting alone"):
        compare(job, tmp_path, ["alone"], {}, [1], {}, None, print)


def test_a_federated_cell_runs_in_the_simulator(job, tmp_path):
    assert compare(job, tmp_path / "out", ["federated"], {}, [1], QUICK, None, lambda _: None) == []
    cell = comparison.read(tmp_path / "out")[0]
    assert cell["dice"].keys() == {"A", "B", "C"}, "by the store's names"
    assert cell["up"] > 0.3 > cell["down"], "in the only round nothing came down but the experiment"
    assert not (tmp_path / "out/federated_seed=1/work").exists()
