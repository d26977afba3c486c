# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from flap_sam.commands.tables.parameters import paper_json, paper_table, room_json, room_table
from flap_sam.config.experiment import Experiment

FLAP = Experiment(backbone="vit_b", image_size=224)


def test_the_table_and_the_json_agree():
    found = json.loads(room_json(FLAP))
    assert (found["trained"], found["total"], found["sent"]) == (1_846_384, 91_900_991, 1_846_384)
    assert found["megabytes_a_round_up"] == found["megabytes_a_round_down"] == pytest.approx(7.385536)
    assert sum(group["total"] for group in found["groups"].values()) == found["total"]
    assert found["trained_ratio_to_fullft"] == pytest.approx(1_846_384 / 90_532_927)
    text = room_table(FLAP)
    assert "1,846,384" in text
    assert "49.0 times" in text


def test_gates_train_but_do_not_travel():
    groups = json.loads(room_json(FLAP.changed(adapter="mole")))["groups"]
    assert (groups["gate"]["trained"], groups["gate"]["sent"]) == (57, 0)


@pytest.mark.parametrize(
    ("strategy", "up", "down"),
    [
        ("alternate", 1_162_352, 1_846_384),
        ("fedsvd", 1_141_872, 1_846_384),
        ("freeze-a", 1_141_872, 1_141_872),
    ],
)
def test_what_takes_turns_goes_up_by_half_and_comes_down_whole(strategy, up, down):
    """A and B of all layers have 704,512 and 663,552 numbers."""
    experiment = FLAP.changed(strategy=strategy)
    found = json.loads(room_json(experiment))
    assert (found["sent"], found["received"]) == (up, down)
    assert (found["megabytes_a_round_up"], found["megabytes_a_round_down"]) == (up * 4 / 1e6, down * 4 / 1e6)
    assert f"{up * 4 / 1e6:.2f} MB from each site and {down * 4 / 1e6:.2f} MB back" in room_table(experiment)


def test_the_papers_table_says_where_it_differs():
    rows = {row["label"]: row for row in json.loads(paper_json())}
    assert rows["FLAP-SAM, DoRA"]["differs"] == "it leaves out the 20,736 magnitudes"
    assert rows["AttnFT"]["differs"]
    assert rows["DecFT"]["differs"] == "", "23.2 times, as in its Figure 1"
    assert rows["MA-SAM, 1 class"]["trained"] == 28_666_678
    text = paper_table()
    assert all(row["label"].split(",")[0] in text for row in rows.values())
