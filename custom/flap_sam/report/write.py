# SPDX-License-Identifier: Apache-2.0
"""A run, or a grid of runs, written as one page of HTML that needs nothing else."""

from pathlib import Path

from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing
from flap_sam.records import cell
from flap_sam.report import run, summary
from flap_sam.report.page import Page, render


def write(work: Path, out: Path, grid: Path | None = None) -> Path:
    """Write the page of the one run, or of the grid, in a folder.

    Args:
        grid: a folder of `flap-sam compare`, whose table a run's page shows too.

    Raises:
        FlapSamError: there is no such run, there are several, or a file is missing or damaged.
    """
    cells = cell.read_all(work)
    if cells and grid:
        raise FlapSamError(f"{work} is a grid itself; leave --compare out, or point to a single run.")
    html = render(summary.of_grid(cells) if cells else _of_run(work, grid))
    with replacing(out) as stream:
        stream.write(html.encode(errors="replace"))
    return out


def _of_run(work: Path, grid: Path | None) -> Page:
    cells = cell.read_all(grid) if grid else []
    if grid and not cells:
        raise FlapSamError(f"{grid} holds no finished run of `flap-sam compare`; point --compare to its --out.")
    return summary.of_run(run.read(work), cells)
