"""A run, or a grid of runs, as one page of HTML that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path

from flap_sam.errors import FlapSamError
from flap_sam.federation import payload
from flap_sam.files import replacing
from flap_sam.reporting import comparison, run_record
from flap_sam.reporting.report import run, summary
from flap_sam.reporting.report.page import Page, render
from flap_sam.reporting.results import FINAL, PAYLOAD_FILES


def write(work: Path, out: Path, grid: Path | None = None) -> Path:
    """Write the page of the one run, or of the grid, in a folder.

    Args:
        grid: a folder of `flap-sam compare`, whose table a run's page shows too.

    Raises:
        FlapSamError: there is no such run, there are several, or a file is missing or damaged.
    """
    cells = comparison.read(work)
    if cells and grid:
        raise FlapSamError(f"{work} is a grid itself; leave --compare out, or point to a single run.")
    html = render(_of_grid(work, cells) if cells else _of_run(work, grid))
    with replacing(out) as stream:
        stream.write(html.encode(errors="replace"))
    return out


def _of_run(work: Path, grid: Path | None) -> Page:
    cells = comparison.read(grid) if grid else []
    if grid and not cells:
        raise FlapSamError(f"{grid} holds no finished run of `flap-sam compare`; point --compare to its --out.")
    return summary.of_run(run.read(work), cells)


def _of_grid(work: Path, cells: Sequence[dict]) -> Page:
    records = {folder: run_record.read(folder) for folder in comparison.folders(work)}
    federated = [folder for folder, record in records.items() if record.setting == run_record.FEDERATED]
    shown = (federated or list(records))[0]
    experiment = payload.read(shown / PAYLOAD_FILES[FINAL]).experiment
    return summary.of_grid(cells, list(records.values()), experiment)
