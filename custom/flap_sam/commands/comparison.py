# SPDX-License-Identifier: Apache-2.0
"""`flap-sam compare`: a comparison whose tables and page are drawn anew after every cell."""

from pathlib import Path

from flap_sam.config.job import Job
from flap_sam.errors import FlapSamError
from flap_sam.experiments.compare import Comparison
from flap_sam.experiments.plan import Plan
from flap_sam.records.cell import FinishedCell
from flap_sam.report import comparison, comparison_page


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
            comparison_page.write(page, asked, plan.seeds, len(compared.cells))

    compared = Comparison(job, out, plan, page and page.with_suffix(".jsonl"), publish)
    return compared
