# SPDX-License-Identifier: Apache-2.0
"""What a hospital agrees to, as text."""

from collections.abc import Sequence

from rich.table import Table

from flap_sam.config.experiment import Experiment
from flap_sam.gate.agreement import Agreement


def experiments_table(title: str, experiments: Sequence[Experiment]) -> Table:
    """Every setting of some experiments, a column for each, under the digest by which sites know it."""
    table = Table(title=title)
    for name in ("experiment", *(experiment.digest()[:12] for experiment in experiments)):
        table.add_column(name)
    for name in Experiment.model_fields:
        table.add_row(name, *(str(getattr(experiment, name)) for experiment in experiments))
    return table


def limits_table(agreement: Agreement) -> Table:
    """What an agreement lets through of its experiments."""
    table = Table(title="Within these limits")
    table.add_column("setting")
    table.add_column("value")
    for name, value in agreement:
        if name != "experiments":
            table.add_row(name, ", ".join(value) if name == "metrics" else str(value))
    return table
