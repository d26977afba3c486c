# SPDX-License-Identifier: Apache-2.0
"""What a staged job will run and what a kit lacks, as text."""

from collections.abc import Sequence

from rich.table import Table

from flap_sam.deployment.check import CheckResult
from flap_sam.deployment.stage import Staged
from flap_sam.foundation.text import as_text


def staged_text(staged: Staged) -> str:
    """Classes by side, the experiment, and the digest by which the sites know it."""
    runs = Table(title="What it runs")
    runs.add_column("where")
    runs.add_column("class")
    for side, classes in staged.classes.items():
        for path in classes:
            runs.add_row(side, path)
    settings = Table(title="What it trains")
    settings.add_column("setting")
    settings.add_column("value")
    for name, value in staged.experiment:
        settings.add_row(name, str(value))
    return as_text(
        runs, settings, f"experiment {staged.experiment.digest()}", f"no code, no links; submit {staged.folder}"
    )


def check_table(findings: Sequence[CheckResult]) -> str:
    """A line for everything that was looked at."""
    table = Table(title="The kit")
    for name in ("", "", "found"):
        table.add_column(name)
    for finding in findings:
        table.add_row(finding.what, "ok" if finding.good else "FAILS", finding.found)
    return as_text(table)
