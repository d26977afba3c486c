"""Dice and surfaces, case by case, as a table."""

from collections.abc import Sequence

from rich.table import Table

from flap_sam.reporting.text import as_text, figure, mean_and_spread
from flap_sam.training.scores import CaseScore

METRICS = (("dice", "Dice", 3), ("hausdorff", "HD95 mm", 1), ("surface_dice", "surface Dice", 3))


def evaluation_table(scores: Sequence[CaseScore], classes: Sequence[str], tolerance: float) -> str:
    """A row a case, then mean ± sample standard deviation over the cases that have the class."""
    table = Table(title=f"surface Dice at {tolerance:g} mm")
    table.add_column("case")
    for name in classes:
        for _, title, _ in METRICS:
            table.add_column(f"{name}\n{title}", justify="right")
    columns = [
        ([getattr(score, metric)[k] for score in scores], digits)
        for k in range(len(classes))
        for metric, _, digits in METRICS
    ]
    for row, score in enumerate(scores):
        table.add_row(score.case, *(figure(values[row], digits) for values, digits in columns))
    table.add_section()
    table.add_row("mean ± spread", *(mean_and_spread(values, digits) for values, digits in columns))
    return as_text(table)
