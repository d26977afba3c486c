"""A grid of experiments: every combination of settings, in a federation and without one, with several seeds."""

import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flap_sam.errors import FlapSamError
from flap_sam.experiments.alone import assignments, train
from flap_sam.experiments.job import Job
from flap_sam.experiments.simulate import finish
from flap_sam.files import replacing
from flap_sam.reporting.comparison import CELL
from flap_sam.reporting.results import FINAL, PAYLOAD_FILES
from flap_sam.reporting.run_record import FEDERATED, LOCAL, SETTINGS
from flap_sam.site import Site


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Args:
        setting: of `run_record.SETTINGS`; changes: settings in place of the job's.
        site: whose data a local run trains on.
    """

    setting: str
    changes: Mapping[str, object]
    seed: int
    site: str | None = None

    @property
    def name(self) -> str:
        """A folder's name that tells the cells of any grid apart."""
        parts = [f"{name}={value}" for name, value in self.changes.items()]
        return "_".join([self.setting, *([self.site] if self.site else []), *parts, f"seed={self.seed}"])


def grid(
    settings: Sequence[str], varied: Mapping[str, Sequence[object]], seeds: Sequence[int], sites: Sequence[str]
) -> Iterator[Cell]:
    """All cells: the product of the varied settings, each in every setting, with every seed; locally at every site."""
    for values in itertools.product(*varied.values()):
        changes = dict(zip(varied, values, strict=True))
        for setting, seed in itertools.product(settings, seeds):
            for site in sites if setting == LOCAL else [None]:
                yield Cell(setting, changes, seed, site)


def compare(
    job: Job,
    out: Path,
    settings: Sequence[str],
    varied: Mapping[str, Sequence[object]],
    seeds: Sequence[int],
    fixed: Mapping[str, object],
    threads: int | None,
    say: Callable[[str], None],
) -> list[str]:
    """Run the cells that are not there yet, each into its own folder of `out`; the sentences of those that failed.

    Args:
        fixed: settings that all cells share; threads: see `simulate`.
    """
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise FlapSamError(f"There is no setting {', '.join(unknown)}; expected some of {', '.join(SETTINGS)}.")
    sites = list(assignments(job, Site.read(None)))
    cells = list(grid(settings, varied, seeds, sites))
    failures = []
    for number, cell in enumerate(cells, 1):
        folder = out / cell.name
        if (folder / CELL).exists():
            say(f"{number}/{len(cells)} {cell.name}: there already")
            continue
        start = time.perf_counter()
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _run(job, cell, dict(fixed), folder, sites, threads)
        except FlapSamError as error:
            failures.append(f"{cell.name}: {error}")
            say(f"{number}/{len(cells)} {failures[-1]}")
            continue
        seconds = time.perf_counter() - start
        _finish(job, cell, dict(fixed), folder, sites, seconds)
        say(f"{number}/{len(cells)} {cell.name}: {seconds / 60:.1f} minutes")
    return failures


def _changes(cell: Cell, fixed: dict) -> dict:
    return fixed | dict(cell.changes) | {"seed": cell.seed}


def _run(job: Job, cell: Cell, fixed: dict, folder: Path, sites: Sequence[str], threads: int | None) -> None:
    changes = _changes(cell, fixed)
    if cell.setting == FEDERATED:
        _federate(job.copy(folder / "job", changes), folder, len(sites), threads)
    else:
        train(job, cell.setting, cell.site, changes, folder, lambda _: None)


def _federate(job: Path, folder: Path, sites: int, threads: int | None) -> None:
    """Simulate a federation and keep its results alone."""
    for file in finish(job, folder / "work", sites, threads).iterdir():
        shutil.move(file, folder / file.name)
    shutil.rmtree(folder / "work")


def _finish(job: Job, cell: Cell, fixed: dict, folder: Path, sites: Sequence[str], seconds: float) -> None:
    """Say what the folder holds; a cell without this note is run again."""
    note = {
        "setting": cell.setting,
        "site": cell.site,
        "changes": dict(cell.changes),
        "seed": cell.seed,
        "experiment": job.experiment(_changes(cell, fixed)).digest(),
        "sites": list(sites),
        "seconds": seconds,
        "payload": PAYLOAD_FILES[FINAL],
    }
    with replacing(folder / CELL) as stream:
        stream.write((json.dumps(note, indent=1) + "\n").encode())
