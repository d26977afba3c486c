# SPDX-License-Identifier: Apache-2.0
import torch
from flap_sam.commands.tables.pretraining import overlap_table


def test_the_table_holds_means_of_both_measures():
    text = overlap_table("drawn masks", {"random": {"a point": torch.tensor([0.5, 1.0, 0.0])}})
    assert "drawn masks" in text
    assert "0.500 / 0.556" in text


def test_dice_is_of_every_mask_before_it_is_averaged():
    """The Dice of the mean IoU would be another number."""
    overlaps = torch.tensor([0.25, 0.5, 1.0])
    expected = sum(2 * iou / (1 + iou) for iou in overlaps.tolist()) / 3
    assert f"0.583 / {expected:.3f}" in overlap_table("masks", {"found": {"a box": overlaps}})


def test_a_row_a_network_and_a_column_a_way_of_asking():
    of_one = {"a point": torch.tensor([0.0]), "a box": torch.tensor([1.0])}
    lines = overlap_table("masks", {"random": of_one, "out.safetensors": of_one}).splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert rows == [[name, "0.000 / 0.000", "1.000 / 1.000"] for name in ("random", "out.safetensors")]
