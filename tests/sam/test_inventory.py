# SPDX-License-Identifier: Apache-2.0
"""Counts by part of the network, and the paper's figures beside them."""

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.config.paper import PAPER, paper_experiment
from flap_sam.sam.inventory import Count, Inventory, full_fine_tuning, inventory

FLAP = Experiment(backbone="vit_b", image_size=224)


def test_counts_add_up():
    assert Count(1, 2, 3, 4) + Count(10, 20, 30, 40) == Count(11, 22, 33, 44)
    found = Inventory({"a": Count(1, 2, 3, 4), "b": Count(10, 20, 30, 40)})
    assert found.whole == Count(11, 22, 33, 44)
    assert (found.megabytes, found.megabytes_down) == (33 * 4 / 1e6, 44 * 4 / 1e6)
    assert Inventory({}).whole == Count(0, 0, 0, 0)


def test_the_papers_method_by_part_of_the_network():
    """LoRA on 12 encoder layers and 7 decoder attentions, UP, HYP and mask tokens; the rest stays."""
    groups = inventory(FLAP).groups
    assert {name: count.sent for name, count in groups.items() if count.sent} == {
        "lora": 1_368_064,
        "mask_tokens": 3 * 256,
        "up": groups["up"].total,
        "hyp": 3 * (2 * (256 * 256 + 256) + 256 * 8 + 8),
    }
    assert inventory(FLAP).whole == Count(1_846_384, 91_900_991, 1_846_384, 1_846_384)


def test_full_fine_tuning_is_of_the_same_network_without_adapters():
    whole = full_fine_tuning(FLAP.changed(adapter="dora", rank=4, strategy="svd")).whole
    assert (whole.trained, whole.total) == (90_532_927, 90_532_927)
    assert full_fine_tuning(FLAP.changed(classes=1)).whole.total == 90_398_774
    assert full_fine_tuning(FLAP).whole.sent < whole.trained, "what nothing trains is not sent"


def differs(printed: float | None, ours: float, digits: int) -> bool:
    return printed is not None and printed != pytest.approx(ours, abs=0.51 * 10**-digits)


@pytest.mark.parametrize("row", PAPER, ids=lambda row: row.label)
def test_where_the_paper_prints_another_figure_the_table_says_why_and_nowhere_else(row):
    experiment = paper_experiment(row)
    found, full = inventory(experiment).whole, full_fine_tuning(experiment).whole
    different = (
        differs(row.trained, found.trained / 1e6, 3)
        or differs(row.total, found.total / 1e6, 3)
        or differs(row.reduction, full.trained / found.trained, 1)
    )
    assert different == bool(row.remark)
