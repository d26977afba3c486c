# SPDX-License-Identifier: Apache-2.0
"""What became of predicted scans, as a table."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from flap_sam.foundation.text import as_text, figure
from flap_sam.inference.predict import Prediction


def prediction_table(predictions: Sequence[Prediction], classes: Sequence[str], folder: Path) -> str:
    """Volumes by scan and class, then what is odd about a scan, and a sentence for every one that failed."""
    table = Table(title="volumes in ml")
    table.add_column("scan")
    for name in classes:
        table.add_column(name, justify="right")
    for found in predictions:
        table.add_row(found.name, *(figure(volume, 1) for volume in found.volumes or [None] * len(classes)))
    failed = [found for found in predictions if found.error]
    return as_text(
        table,
        *(f"note on {found.name}: {note}" for found in predictions for note in found.notes),
        *(f"{found.name}: {found.error}" for found in failed),
        f"{len(predictions) - len(failed)} of {len(predictions)} scans segmented, in {folder}",
    )
