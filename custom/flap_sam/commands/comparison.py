# SPDX-License-Identifier: Apache-2.0
"""`flap-sam compare`: what it will take, and a comparison whose tables and page are drawn anew after every cell."""

from collections.abc import Collection
from pathlib import Path

from rich.table import Table

from flap_sam.config.job import Job
from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError
from flap_sam.experiments.compare import Comparison
from flap_sam.experiments.estimate import estimate
from flap_sam.experiments.plan import Plan
from flap_sam.foundation.text import as_text, count, duration, figure
from flap_sam.records.cell import FinishedCell
from flap_sam.report import comparison, comparison_page
from flap_sam.report.claims import Side


def published(job: Job, out: Path, plan: Plan, page: Path | None = None) -> Comparison:
    """The comparison of a plan, with tables in the folder of its cells and, where one is wanted, a page.

    Args:
        page: a file of Markdown; beside it lie its cells (.jsonl) and its figure (.svg).

    Raises:
        FlapSamError: the page's name is not that of one; see also `Comparison`.
    """
    if page and page.suffix != ".md":
        raise FlapSamError(f"The page {page} would be Markdown; let its name end with .md.")

    def publish(own: list[FinishedCell], asked: list[FinishedCell]) -> None:
        comparison.write(out, own)
        if page and asked:
            comparison_page.write(page, asked, plan.seeds, len(compared.cells), planned if plan.beside_paper else ())

    compared = Comparison(job, out, plan, page and page.with_suffix(".jsonl"), publish)
    planned = [Side(comparison.label_of(cell.changes), cell.setting) for cell in compared.cells.values()]
    return compared


def beforehand(compared: Comparison, settings: Collection[str]) -> str:
    """How many cells are still to be run in some settings, and how long they will take by a step of each network."""
    missing = compared.missing(settings)
    if not missing:
        return f"Nothing is left to run in {', '.join(settings)}."
    found = estimate(missing, compared.assigned, Site.read(None))
    table = Table(title=f"Seconds, measured on {found.device}")
    for column in ("network", "to train on a window", "to score a slice"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for changes, speed in found.speeds:
        table.add_row(comparison.label_of(changes), figure(speed.window), figure(speed.scored))
    parts = [
        f"{setting}: {count(found.cells[setting], 'cell')}, {duration(seconds)}"
        for setting, seconds in found.seconds.items()
        if found.cells[setting]
    ]
    whole = f"{count(len(missing), 'cell')} to run, about {duration(sum(found.seconds.values()))}"
    return as_text(
        table,
        f"{whole} on this machine, as busy as it is now ({'; '.join(parts)}).",
        "By one measured step of each network times all steps, and the scoring; starting processes, encoding for the "
        "first time and sending come on top. What is finished is kept: stop at any time, and run the same words again.",
    )
