# SPDX-License-Identifier: Apache-2.0
"""What a comparison runs: grids of settings with several seeds, in the order in which they are run."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flap_sam.errors import FlapSamError
from flap_sam.records.run_record import LOCAL, SETTINGS, Setting


@dataclass(frozen=True)
class Cell:
    """One run of a plan.

    Args:
        setting: of `run_record.SETTINGS`; changes: the varied settings.
        site: whose data a local run trains on.
    """

    setting: Setting
    changes: Mapping[str, object]
    seed: int
    site: str | None = None

    @property
    def name(self) -> str:
        """What tells it from the other cells of its plan."""
        parts = [f"{name}={value}" for name, value in self.changes.items()]
        return "_".join([self.setting, *([self.site] if self.site else []), *parts, f"seed={self.seed}"])


@dataclass(frozen=True)
class Grid:
    """The product of the varied settings of an experiment, each in every one of `settings`.

    Args:
        settings: of `run_record.SETTINGS`.

    Raises:
        FlapSamError: one of them is none, or the seed is varied.
    """

    settings: Sequence[Setting]
    varied: Mapping[str, Sequence[object]]

    def __post_init__(self) -> None:
        check_settings(self.settings)
        _check_no_seed(self.varied, "--vary")


@dataclass(frozen=True)
class Plan:
    """Grids and seeds.

    Args:
        grids: in the order in which they are run.
        fixed: settings in place of the job's, of all cells that read them and do not vary them.
        beside_paper: whether the paper's figures stand beside those of its rows.

    Raises:
        FlapSamError: a seed is no whole number, is there twice, or among the fixed settings.
    """

    grids: Sequence[Grid]
    seeds: Sequence[int]
    fixed: Mapping[str, object] = field(default_factory=dict)
    beside_paper: bool = False

    def __post_init__(self) -> None:
        if wrong := [seed for seed in self.seeds if type(seed) is not int]:
            raise FlapSamError(f"The seed {wrong[0]!r} is no whole number; name --seeds like 1,2,3.")
        if len(set(self.seeds)) < len(self.seeds):
            raise FlapSamError(f"The seeds {', '.join(map(str, self.seeds))} hold one twice; name each once.")
        _check_no_seed(self.fixed, "--set")

    def changed(self, fixed: Mapping[str, object], seeds: Sequence[Any] | None) -> "Plan":
        """This plan with more settings fixed, and other seeds unless they are None."""
        return replace(self, fixed={**self.fixed, **fixed}, seeds=self.seeds if seeds is None else seeds)

    def cells(self, sites: Sequence[str]) -> list[Cell]:
        """All seeds of the first grid before the second; a local cell at every site."""
        return [
            Cell(setting, dict(zip(grid.varied, values, strict=True)), seed, site)
            for grid, seed in itertools.product(self.grids, self.seeds)
            for values in itertools.product(*grid.varied.values())
            for setting in grid.settings
            for site in (sites if setting == LOCAL else [None])
        ]

    def changes(self, cell: Cell) -> dict[str, object]:
        """All settings of a cell that take the place of the job's."""
        return {**self.fixed, **cell.changes, "seed": cell.seed}


def check_settings(settings: Collection[str]) -> list[Setting]:
    """The settings unchanged; raises a FlapSamError where one is not of `run_record.SETTINGS`."""
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise FlapSamError(f"There is no setting {', '.join(unknown)}; expected some of {', '.join(SETTINGS)}.")
    return [SETTINGS[SETTINGS.index(setting)] for setting in settings]


def _check_no_seed(settings: Collection[str], option: str) -> None:
    if "seed" in settings:
        raise FlapSamError(f"The seed of a comparison is not set with {option}; name its --seeds.")
