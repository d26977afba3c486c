# SPDX-License-Identifier: Apache-2.0
"""What a staged job will run and what a kit lacks, as text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from flap_sam.commands.tables.agreement import experiments_table, limits_table
from flap_sam.deployment.stage import Staged
from flap_sam.foundation.text import as_text
from flap_sam.gate.agreement import Agreement

if TYPE_CHECKING:
    from flap_sam.deployment.check import CheckResult  # which imports torch; `stage` needs none


def staged_text(staged: Staged) -> str:
    """Classes by side, the experiment, and the digest by which the sites know it."""
    runs = Table(title="What it runs")
    runs.add_column("where")
    runs.add_column("class")
    for side, classes in staged.classes.items():
        for path in classes:
            runs.add_row(side, path)
    settings = experiments_table("What it trains", [staged.experiment])
    return as_text(
        runs, settings, f"experiment {staged.experiment.digest()}", f"no code, no links; submit {staged.folder}"
    )


def check_text(findings: Sequence["CheckResult"], agreement: Agreement | None) -> str:
    """A line for everything that was looked at, and what the agreement permits, where there is one."""
    table = Table(title="The kit")
    for name in ("", "", "found"):
        table.add_column(name)
    for finding in findings:
        table.add_row(finding.what, "ok" if finding.good else "FAILS", finding.found)
    if agreement is None:
        return as_text(table)
    permits = experiments_table("What the agreement permits", agreement.experiments)
    return as_text(table, permits, limits_table(agreement))
