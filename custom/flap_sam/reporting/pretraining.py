"""How well promptable networks find masks, as a table."""

from collections.abc import Mapping

from rich.table import Table

from flap_sam.reporting.text import as_text, figure


def overlap_table(networks: Mapping[str, Mapping[str, float]]) -> str:
    """Mean overlaps (see `pretraining.examine`) by network, a column for each way of asking."""
    table = Table(title="mean overlap (IoU) with the masks of scenes that were not trained on, asked by")
    table.add_column("")
    for name in next(iter(networks.values())):
        table.add_column(name, justify="right")
    for name, overlaps in networks.items():
        table.add_row(name, *(figure(value) for value in overlaps.values()))
    return as_text(table)
