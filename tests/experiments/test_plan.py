# SPDX-License-Identifier: Apache-2.0
import pytest
from flap_sam.errors import FlapSamError
from flap_sam.experiments.plan import Cell, Grid, Plan

SITES = ["A", "B", "C"]


def test_the_cells_are_the_product_and_local_runs_are_one_a_site():
    grid = Grid(["local", "federated"], {"method": ["a", "b"], "rank": [4]})
    cells = Plan([grid], [1, 2]).cells(SITES)
    assert len(cells) == 2 * 2 * (3 + 1)
    assert len({cell.name for cell in cells}) == len(cells)
    assert Cell("local", {"method": "a", "rank": 4}, 1, "A") in cells


def test_a_grid_is_finished_with_all_seeds_before_the_next():
    cells = Plan([Grid(["centralized"], {"rank": [8, 4]}), Grid(["local"], {})], [2, 1]).cells(["A"])
    assert [cell.seed for cell in cells] == [2, 2, 1, 1, 2, 1]
    assert [dict(cell.changes) for cell in cells] == [{"rank": 8}, {"rank": 4}] * 2 + [{}, {}]


def test_a_cells_own_settings_go_before_those_of_all():
    plan = Plan([], [1], {"rounds": 3, "rank": 8}).changed({"rounds": 5}, None)
    assert plan.changes(Cell("federated", {"rank": 4}, 7)) == {"rounds": 5, "rank": 4, "seed": 7}
    assert (plan.seeds, plan.changed({}, [3]).seeds) == ([1], [3])


def test_a_setting_that_is_none_is_refused():
    with pytest.raises(FlapSamError, match="no setting alone"):
        Grid(["alone"], {})


def test_seeds_are_said_once():
    grids = [Grid(["centralized"], {"method": ["pdecft"]})]
    with pytest.raises(FlapSamError, match="seeds 1, 1 hold one twice"):
        Plan(grids, [1, 1])
    with pytest.raises(FlapSamError, match="name its --seeds"):
        Plan(grids, [1, 2]).changed({"seed": 3}, None)
    with pytest.raises(FlapSamError, match="not set with --vary; name its --seeds"):
        Grid(["centralized"], {"seed": [1, 2]})
    for wrong in ("one", [1], True, 1.0):
        with pytest.raises(FlapSamError, match="is no whole number; name --seeds like"):
            Plan(grids, [2, wrong])
