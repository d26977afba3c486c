# SPDX-License-Identifier: Apache-2.0
"""Tables of what a method trains and sends."""

import json
from dataclasses import asdict
from typing import Any

from rich.table import Table

from flap_sam.config.experiment import Experiment
from flap_sam.config.paper import PAPER, PaperRow, paper_experiment
from flap_sam.foundation.text import as_text, figure
from flap_sam.sam.inventory import Count, full_fine_tuning, inventory


def room_table(experiment: Experiment) -> str:
    """One experiment's counts by group of the network."""
    found, full = inventory(experiment), full_fine_tuning(experiment)
    table = Table(title=_title(experiment))
    for column in ("group", "trainable", "total", "sent", "received"):
        table.add_column(column, justify="left" if column == "group" else "right")
    for group, count in found.groups.items():
        table.add_row(group, *_cells(count))
    table.add_section()
    table.add_row("all", *_cells(found.whole))
    trained = found.whole.trained
    return as_text(
        table,
        f"trainable: {100 * trained / found.whole.total:.2f} % of the network, "
        f"{full.whole.trained / trained:.1f} times fewer than full fine-tuning",
        f"a round: {found.megabytes:.2f} MB from each site and {found.megabytes_down:.2f} MB back, "
        f"{full.megabytes / found.megabytes:.1f} times less than full fine-tuning",
    )


def room_json(experiment: Experiment) -> str:
    """The same as JSON."""
    found, full = inventory(experiment), full_fine_tuning(experiment)
    return json.dumps(
        {
            "experiment": dict(experiment),
            "groups": {group: asdict(count) for group, count in found.groups.items()},
            **asdict(found.whole),
            "megabytes_a_round_up": found.megabytes,
            "megabytes_a_round_down": found.megabytes_down,
            "trained_ratio_to_fullft": found.whole.trained / full.whole.trained,
            "traffic_ratio_to_fullft": found.megabytes / full.megabytes,
        },
        indent=1,
    )


def paper_table() -> str:
    """Our counts beside the paper's figures, in millions; a remark where they differ."""
    table = Table(title="vit_b at 224 px, rank 32 and 2 classes unless said otherwise")
    for column in ("method", "trainable", "paper", "total", "paper", "less trained", "Fig. 1", "differs"):
        table.add_column(column, justify="left" if column in ("method", "differs") else "right")
    for row in _paper_rows():
        table.add_row(
            row["label"],
            f"{row['trained']:,}",
            figure(row["paper_trained"]),
            f"{row['total']:,}",
            figure(row["paper_total"]),
            f"{row['reduction']:.1f} x",
            "-" if row["paper_reduction"] is None else f"{row['paper_reduction']} x",
            row["differs"],
        )
    return as_text(table, "Ours are counts to the unit, the paper's are in millions; a dash where none is at hand.")


def paper_json() -> str:
    """The same as JSON."""
    return json.dumps(_paper_rows(), indent=1)


def _paper_rows() -> list[dict[str, Any]]:
    rows = []
    for row in PAPER:
        experiment = paper_experiment(row)
        whole, full = inventory(experiment).whole, full_fine_tuning(experiment).whole
        reduction = full.trained / whole.trained
        rows.append(
            {
                "label": row.label,
                "trained": whole.trained,
                "paper_trained": row.trained,
                "total": whole.total,
                "paper_total": row.total,
                "reduction": reduction,
                "paper_reduction": row.reduction,
                "differs": row.remark if _differs(row, whole, reduction) else "",
            }
        )
    return rows


def _differs(row: PaperRow, whole: Count, reduction: float) -> bool:
    """Whether a figure the paper prints is not ours, rounded as it rounds."""
    return (
        (row.trained is not None and round(whole.trained / 1e6, 3) != row.trained)
        or (row.total is not None and round(whole.total / 1e6, 3) != row.total)
        or (row.reduction is not None and round(reduction, 1) != row.reduction)
    )


def _title(experiment: Experiment) -> str:
    parts = f"{experiment.method} on {experiment.backbone}, {experiment.adapter}, rank {experiment.rank}"
    size = "" if experiment.image_size is None else f", {experiment.image_size} px"
    return f"{parts}, {experiment.classes} classes{size}"


def _cells(count: Count) -> list[str]:
    return [f"{number:,}" for number in (count.trained, count.total, count.sent, count.received)]
