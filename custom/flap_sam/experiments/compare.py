# SPDX-License-Identifier: Apache-2.0
"""A plan run cell by cell: in a federation and without one, each cell in a folder of its own."""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

import torch
from rich.progress import TextColumn

from flap_sam.config.experiment import DEFAULTS, Experiment, unread
from flap_sam.config.job import Job
from flap_sam.config.run_policy import RunPolicy
from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError
from flap_sam.experiments.alone import assignments, train
from flap_sam.experiments.plan import Cell, Plan, check_settings
from flap_sam.experiments.simulate import finish
from flap_sam.foundation import lock
from flap_sam.foundation.files import sha256
from flap_sam.foundation.lock import locked
from flap_sam.foundation.own_folder import fresh
from flap_sam.foundation.progress_bar import bar
from flap_sam.foundation.text import count
from flap_sam.records import cell as cell_record
from flap_sam.records.cell import CellNote, Data, FinishedCell, Key
from flap_sam.records.results import FINAL, PAYLOAD_FILES
from flap_sam.records.run_record import FEDERATED
from flap_sam.sam.weights import Weights, weights_for
from flap_sam.wire import payload

Publish = Callable[[list[FinishedCell], list[FinishedCell]], None]

UNFIT = re.compile(r"[^\w=.,-]")  # for the name of a folder


class Comparison:
    """A plan of a job's experiments on the configured data, and the folder of its cells.

    Args:
        published: a file of finished cells (see `records.cell`), if there is one. Those that it holds already are not
            run again, wherever they were run.
        publish: is given the cells of the folder, and of all that are finished those that the plan asks for, before
            the first and after every cell.

    Raises:
        FlapSamError: there is no data, no cell reads a setting that is fixed, `out` or `published` holds cells of
            other data, another start or another run policy, or `published` some of another plan.
    """

    def __init__(self, job: Job, out: Path, plan: Plan, published: Path | None, publish: Publish) -> None:
        self.job, self.out, self.plan, self._publish = job, out, plan, publish
        self.assigned = assignments(Site.read(None), job.demo)
        stores = {name: found.store for name, found in self.assigned.items()}
        self.slices = {name: store.training_slices for name, store in stores.items()}
        sources = {store.manifest.source for store in stores.values()}
        contents = "".join(store.manifest.content_sha256 for store in stores.values())
        manifests = hashlib.sha256(contents.encode()).hexdigest()
        self.data = Data(source=", ".join(sorted(sources)), slices=self.slices, sha256=manifests)
        self.cells: dict[Key, Cell] = {}
        for planned in plan.cells([*stores]):
            self.cells.setdefault(self._key(planned), planned)
        self._check_fixed()
        self.weights = weights_for("auto", Site.read(None).checkpoint)
        self.start = _start(self.weights)
        self._check(cell_record.read_all(out), out, "--out")
        self.published = self._read_published(published) if published and published.exists() else {}

    def run(self, settings: Collection[str], threads: int | None, say: Callable[[str], None]) -> list[str]:
        """Run the cells that are not there yet; the sentences of those that failed.

        Args:
            settings: in which cells are run; threads: see `simulate`.
        """
        check_settings(settings)
        with locked(self.out / lock.NAME, str(self.out)):
            return self._run_missing(settings, threads, say)

    def _run_missing(self, settings: Collection[str], threads: int | None, say: Callable[[str], None]) -> list[str]:
        wanted = {key: cell for key, cell in self.cells.items() if cell.setting in settings}
        there = self.there()
        refused = {cell.name for key, cell in wanted.items() if key[2] == cell.name}
        missing = [cell for key, cell in wanted.items() if key not in there]
        missing.sort(key=lambda cell: cell.name not in refused)  # they fail at once, not after hours of others
        say(f"{len(wanted) - len(missing)} of {len(wanted)} cells are there already")
        self.record()
        failures = []
        with bar(TextColumn("{task.percentage:>3.0f} %")) as progress:
            task = progress.add_task("", total=sum(map(self._cost, missing)))
            progress.advance(task, 0)  # the first cell is measured from here
            for number, cell in enumerate(missing, 1):
                name = f"{number}/{len(missing)} {cell.name}"
                progress.update(task, description=name)
                try:
                    say(f"{name}: {self._run(cell, threads) / 60:.1f} minutes")
                except FlapSamError as error:
                    failures.append(f"{cell.name}: {error}")
                    say(f"{name} failed: {error}")
                else:
                    self.record()
                progress.advance(task, self._cost(cell))
        return failures

    def missing(self, settings: Collection[str]) -> list[tuple[Cell, Experiment]]:
        """The cells of some settings that are not there yet and can be run, with their experiments."""
        there, found = self.there(), []
        for key, cell in self.cells.items():
            if cell.setting in settings and key not in there:
                with suppress(FlapSamError):  # its settings are refused; running the cell reports why
                    found.append((cell, self.job.experiment(self._changes(cell))))
        return found

    def record(self) -> None:
        """Publish the cells of the folder, and those of all that the plan asks for, each named as the plan names it."""
        own = cell_record.read_all(self.out)
        there = self.published | _by_key(own)
        asked = [there[key].changed(changes=cell.changes) for key, cell in self.cells.items() if key in there]
        self._publish(own, asked)

    def there(self) -> dict[Key, FinishedCell]:
        """The finished cells, published ones and those of the folder."""
        return self.published | _by_key(cell_record.read_all(self.out))

    def _read_published(self, lines: Path) -> dict[Key, FinishedCell]:
        cells = _by_key(cell_record.read_lines(lines))
        self._check(cells.values(), lines, "--page")
        if strangers := cells.keys() - self.cells.keys():
            number = count(len(strangers), "cell")
            raise FlapSamError(f"{lines} holds {number} that this comparison does not ask for; choose another --page.")
        return cells

    def _check(self, cells: Iterable[FinishedCell], place: Path, option: str) -> None:
        for found in cells:
            if found.data != self.data:
                raise FlapSamError(
                    f"{place} holds cells of {found.data}, but the data is now {self.data}; choose another {option}."
                )
            if found.start != self.start:
                raise FlapSamError(
                    f"{place} holds cells that did not start from {self.weights}; choose another {option}."
                )
            if found.setting == FEDERATED and (other := self._other_policy(found)):
                raise FlapSamError(f"{place} holds cells of another run policy ({other}); choose another {option}.")

    def _other_policy(self, found: FinishedCell) -> str:
        before, now = vars(RunPolicy()) | dict(found.run.attempts[0].policy), vars(self.job.policy)
        return ", ".join(f"{name} {before[name]}, now {now[name]}" for name in now if before[name] != now[name])

    def _key(self, cell: Cell) -> Key:
        try:
            digest = self.job.experiment(self._changes(cell)).digest()
        except FlapSamError:
            digest = cell.name  # its settings are refused; running the cell reports why
        return cell.setting, cell.site, digest

    def _changes(self, cell: Cell) -> dict[str, object]:
        """A cell's settings in place of the job's: of those that are common to all cells, the ones that it reads.

        A rank of the job or of --set holds in the cells whose method has adapters; one that a cell itself varies
        beside a method without them is its experiment's error.
        """
        changes = self.plan.changes(cell)
        common = {**self.job.settings, **self.plan.fixed}.keys() - cell.changes.keys()
        unread_here = unread(self.job.settings | changes)
        return changes | {name: default for name, default in unread_here.items() if name in common}

    def _check_fixed(self) -> None:
        """Refuse a setting that no experiment has, and one of --set that no cell reads."""
        named = {*self.plan.fixed, *(name for grid in self.plan.grids for name in grid.varied)}
        if unknown := sorted(named - DEFAULTS.keys()):
            raise FlapSamError(f"An experiment has no setting {', '.join(unknown)}; it has {', '.join(DEFAULTS)}.")
        for name, value in self.plan.fixed.items():
            cells = [cell for cell in self.cells.values() if name not in cell.changes]
            if cells and all(self._changes(cell)[name] != value for cell in cells):
                raise FlapSamError(f"No cell of the comparison reads {name}; leave {name}={value} out of --set.")

    def _cost(self, cell: Cell) -> float:
        """Of a cell, in units of a run on all data."""
        return 1.0 if cell.site is None else self.slices[cell.site] / sum(self.slices.values())

    def _run(self, cell: Cell, threads: int | None) -> float:
        """Run a cell and return the seconds it took; the note that makes its folder a finished cell is written last."""
        start = time.perf_counter()
        changes = self._changes(cell)
        unique = hashlib.sha256(repr(self._key(cell)).encode()).hexdigest()[:8]
        folder = self.out / f"{UNFIT.sub('-', cell.name)}_{unique}"
        fresh(folder)
        try:
            if cell.setting == FEDERATED:
                _federate(self.job.copy(folder / "job", changes), folder, len(self.slices), threads)
            else:
                site = Site.read(None)
                site = site.at(site.data, cell.site)
                train(self.job.experiment(changes), folder, site=site, policy=self.job.policy, demo=self.job.demo)
        except (torch.OutOfMemoryError, MemoryError, OSError) as error:  # what the machine refuses, to this cell alone
            raise FlapSamError(f"It failed with {type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
        seconds = time.perf_counter() - start
        note = CellNote(
            job=self.job.folder.resolve().name,
            setting=cell.setting,
            site=cell.site,
            changes=cell.changes,
            seed=cell.seed,
            experiment=self.job.experiment(changes).digest(),
            settings=json.loads(payload.read(folder / PAYLOAD_FILES[FINAL]).experiment.to_json()),
            data=self.data,
            start=self.start,
            sites=[*self.slices],
            seconds=seconds,
            payload=PAYLOAD_FILES[FINAL],
        )
        note.write(folder)
        return seconds


def _by_key(cells: Iterable[FinishedCell]) -> dict[Key, FinishedCell]:
    return {cell.key: cell for cell in cells}


def _start(weights: Weights) -> str:
    """What tells a start from others: the file's SHA-256, or that there is none."""
    if weights.file is None:
        return weights.origin
    try:
        return sha256(weights.file)
    except OSError as error:
        raise FlapSamError(f"Checkpoint {weights.file} cannot be read ({error}); see FLAP_SAM_CHECKPOINT.") from error


def _federate(job: Path, folder: Path, sites: int, threads: int | None) -> None:
    """Simulate a federation and keep its results alone."""
    for file in finish(job, folder / "work", sites, threads).iterdir():
        shutil.move(file, folder / file.name)
    shutil.rmtree(folder / "work")
