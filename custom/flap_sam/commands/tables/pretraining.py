# SPDX-License-Identifier: Apache-2.0
"""How well promptable networks find masks, as a table."""

from collections.abc import Mapping

from rich.table import Table
from torch import Tensor

from flap_sam.foundation.text import as_text, figure


def overlap_table(masks: str, networks: Mapping[str, Mapping[str, Tensor]]) -> str:
    """Mean overlaps (see `pretraining.examine`) by network, as IoU and as Dice, a column for each way of asking.

    Args:
        masks: which ones were asked for.
    """
    table = Table(title=f"{masks}: mean IoU / Dice, asked for by")
    table.add_column("")
    for name in next(iter(networks.values())):
        table.add_column(name, justify="right")
    for name, overlaps in networks.items():
        table.add_row(name, *map(_iou_and_dice, overlaps.values()))
    return as_text(table)


def _iou_and_dice(overlaps: Tensor) -> str:
    dice = 2 * overlaps / (1 + overlaps)
    return " / ".join(figure(mean.item()) for mean in (overlaps.mean(), dice.mean()))
