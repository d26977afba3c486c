# SPDX-License-Identifier: Apache-2.0
from flap_sam.records.run_record import FEDERATED, LOCAL
from flap_sam.report import comparison

from tests.report.cells import cell, row


def test_rows_stand_in_the_papers_order_under_readable_names():
    cells = [
        *row(0.5, rank=16),
        *row(0.5, rank=4),
        *row(0.5, adapter="dora"),
        *row(0.5),
        *row(0.2, setting=LOCAL),
        *row(0.4, method="pdecft"),
        cell(0.3).changed(changes={"strategy": "residual"}),
        cell(0.3).changed(changes={}),
    ]
    assert [(row.label, row.setting) for row in comparison.rows(cells)] == [
        ("strategy residual", FEDERATED),
        ("the job as it is", FEDERATED),
        ("pdecft", FEDERATED),
        ("flap_sam", LOCAL),
        ("flap_sam", FEDERATED),
        ("flap_sam, dora", FEDERATED),
        ("flap_sam, rank 4", FEDERATED),
        ("flap_sam, rank 16", FEDERATED),
    ]


def test_cells_of_other_settings_of_the_job_are_no_seeds_of_one_row():
    longer = cell(0.9, seed=2)
    longer = longer.changed(settings={**longer.settings, "rounds": 20})
    found = comparison.rows([*row(0.5), longer])
    assert [(row.label, row.seeds) for row in found] == [("flap_sam, rounds 3", [1]), ("flap_sam, rounds 20", [2])]


def test_sites_that_are_missing_leave_the_mean_of_the_sites_open():
    cells = row(0.5, 0.7, setting=LOCAL)
    (whole,) = comparison.rows(cells)
    assert whole.by_seed() == {1: 0.51, 2: 0.71}
    (partial,) = comparison.rows(cells[:-1])
    assert partial.by_seed() == {1: 0.51}
    assert partial.dice == {"A": [0.5, 0.7], "B": [0.52, None]}
    assert comparison.texts(partial, ["A", "B"])[-1] == "2.0", "minutes of a part are not those of a seed"


def test_the_same_run_counts_once():
    first, again = cell(0.5), cell(0.6).changed(experiment="its backbone said, not left out")
    (found,) = comparison.rows([first, again, cell(0.7, seed=2)])
    assert (found.dice["A"], found.minutes) == ([0.6, 0.7], [1.0, 1.0]), "the last one"


def test_a_setting_that_older_cells_do_not_have_is_left_open():
    older, newer = cell(0.5), cell(0.6, seed=2)
    older = older.changed(settings={name: value for name, value in older.settings.items() if name != "proximal"})
    longer = cell(0.7, seed=3).changed(settings={**newer.settings, "proximal": 0.5})
    assert {row.label for row in comparison.rows([older, newer, longer])} == {
        "flap_sam, proximal None",
        "flap_sam, proximal 0.0",
        "flap_sam, proximal 0.5",
    }
