# SPDX-License-Identifier: Apache-2.0
"""How long a comparison will take: a step and a scored slice of each of its networks, measured here, times how many."""

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from flap_sam.config.experiment import DEFAULTS, Experiment
from flap_sam.config.site import Site
from flap_sam.data.manifest import Case
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError
from flap_sam.experiments.plan import Cell
from flap_sam.foundation.text import count
from flap_sam.records.run_record import LOCAL, SETTINGS, Setting
from flap_sam.training.participant import Assignment, Participant

FEW = 1  # windows of a measured step on a processor, where a step takes as long as its windows together
TESTS = 2  # payloads that are scored on the test cases: the last and the best
NOT_COST = ("rounds", "local_epochs", "seed", "warmup_steps", "max_epochs", "learning_rate", "weight_decay")


@dataclass(frozen=True)
class Speed:
    """Seconds of a network: `window` to train on one, `scored` to score a slice."""

    window: float
    scored: float


@dataclass(frozen=True)
class Estimate:
    """What a comparison is to take, one cell after the other.

    Args:
        device: on which it was measured.
        speeds: of every network, with the varied settings of the first cell that has it.
        cells, seconds: by setting (see `run_record.SETTINGS`).
    """

    device: str
    speeds: Sequence[tuple[Mapping[str, object], Speed]]
    cells: Mapping[Setting, int]
    seconds: Mapping[Setting, float]


def estimate(cells: Sequence[tuple[Cell, Experiment]], data: Mapping[str, Assignment], site: Site) -> Estimate:
    """Measure the networks of cells and sum up.

    Counted are the training steps and the scoring, of all sites in turn; starting processes and sending are not.

    Args:
        cells: with their experiments; data: every site's, by its name in the store; site: where things lie.

    Raises:
        FlapSamError: a network cannot be built, or a step of it does not fit into the memory.
    """
    smallest = min(data.values(), key=lambda found: found.store.training_slices)
    speeds: dict[Experiment, Speed] = {}
    seconds, numbers = dict.fromkeys(SETTINGS, 0.0), dict.fromkeys(SETTINGS, 0)
    told: list[tuple[Mapping[str, object], Speed]] = []
    for cell, experiment in cells:
        network = experiment.changed(**{name: DEFAULTS[name] for name in NOT_COST})
        if network not in speeds:
            speeds[network] = measured(network, smallest, site)
            told.append((cell.changes, speeds[network]))
        own = [cell.site] if cell.setting == LOCAL and cell.site else [*data]
        seconds[cell.setting] += _seconds(experiment, speeds[network], [data[name].store for name in own], data)
        numbers[cell.setting] += 1
    return Estimate(str(site.torch_device()), told, numbers, seconds)


def measured(experiment: Experiment, data: Assignment, site: Site) -> Speed:
    """The second of two steps, and the scoring after it, on the first slices of a site's first training case."""
    on_processor = site.torch_device().type == "cpu"
    excerpt = Excerpt.of(data.store, FEW if on_processor else experiment.batch_size)
    slices = excerpt.training_slices
    step = experiment.changed(batch_size=slices, foreground_share=0.0)
    with tempfile.TemporaryDirectory() as folder:
        here = site.changed(state=Path(folder), processes=1)
        try:
            participant = Participant(step, here, Assignment((excerpt,), data.demo), "site-1", "measured")
            participant.train(0)  # reserves memory, and encodes what is encoded once
            result = participant.train(1)[1]
            start = time.perf_counter()
            participant.score("train")
            scored = time.perf_counter() - start
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise FlapSamError(
                f"A step of {count(slices, 'window')} of {experiment.method} on {experiment.backbone} does not fit "
                'into the memory; set "memory" of the site to "low", or a smaller batch_size.'
            ) from error
    return Speed(result.seconds / slices, scored / slices)


class Excerpt(SiteStore):
    """The first slices of a store's first training case, as a store of one case."""

    @classmethod
    def of(cls, store: SiteStore, slices: int) -> "Excerpt":
        first = store.cases("train")[0]
        case = first.changed(shape=(min(slices, first.shape[0]), *first.shape[1:]))
        return cls(store.folder, store.manifest.changed(cases=(case,)))

    def _array(self, case: Case, kind: str, dtype: type) -> np.ndarray:
        found: np.ndarray = np.load(self.path(case, kind), mmap_mode="r", allow_pickle=False)
        return found[: case.shape[0]]


def _seconds(
    experiment: Experiment, speed: Speed, trained: Sequence[SiteStore], everyone: Mapping[str, Assignment]
) -> float:
    """Of a run: its rounds, each with its validation, and the test cases of every site at its end."""
    windows = experiment.local_epochs * sum(store.training_slices for store in trained)
    validated = _slices(trained, "validation")
    tested = TESTS * _slices([found.store for found in everyone.values()], "test")
    return experiment.rounds * (windows * speed.window + validated * speed.scored) + tested * speed.scored


def _slices(stores: Iterable[SiteStore], split: str) -> int:
    return sum(case.shape[0] for store in stores for case in store.cases(split))
