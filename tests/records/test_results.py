# SPDX-License-Identifier: Apache-2.0
from flap_sam.records.results import FINAL, TEST_DICE, read_scores, read_test_dice, results_below, write_test_dice
from flap_sam.training.evaluate import evaluation

from tests.training.cases import scored

REPORT = evaluation([scored("v", (0.5, None))], [scored("a", (0.5, None))], 2)


def test_finished_runs_are_found(tmp_path):
    folder = tmp_path / "work" / "server" / "results"
    folder.mkdir(parents=True)
    assert results_below(tmp_path) == []
    (folder / TEST_DICE).touch()
    assert results_below(tmp_path) == results_below(folder) == [folder]


def test_scores_come_back_with_the_sites_in_the_order_of_their_numbers(tmp_path):
    reports = dict.fromkeys(("site-10", "site-2", "site-1"), REPORT)
    write_test_dice(tmp_path, {"final": reports, "best": reports}, 3, {"site-2": "its own part"})
    tests, best_round = read_test_dice(tmp_path)
    assert best_round == 3
    assert list(tests[FINAL].items()) == [(name, REPORT) for name in ("site-1", "site-2", "site-10")]
    assert read_scores(tmp_path).departures == {"site-2": "its own part"}
