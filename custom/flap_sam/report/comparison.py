# SPDX-License-Identifier: Apache-2.0
"""The paper's table form over the cells of a grid: a row a method and setting, a column a site."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from flap_sam.config.experiment import METHODS
from flap_sam.foundation.files import replacing
from flap_sam.foundation.means import mean_of_known
from flap_sam.foundation.text import as_text, in_order, markdown_table, mean_and_spread
from flap_sam.records import cell
from flap_sam.records.cell import FinishedCell
from flap_sam.records.run_record import LOCAL, SETTINGS

SELF_EXPLAINING = ("method", "adapter")  # their values need no name beside them


@dataclass(frozen=True)
class Row:
    """One row, each figure of all seeds together, in the order of `seeds`.

    Args:
        changes: settings in which it may differ from other rows; settings: all of them.
        whole: whether there is all of a seed; of local runs, those of every site.
        dice: by site, the test Dice of every seed (mean over classes).
        up, down: megabytes that a site sent and received in a round.
    """

    label: str
    setting: str
    changes: Mapping[str, object]
    settings: Mapping[str, object]
    seeds: list[int]
    whole: list[bool]
    dice: dict[str, list[float | None]]
    up: list[float | None]
    down: list[float | None]
    minutes: list[float]

    def means(self) -> list[float | None]:
        """Mean of the sites, by seed; None where a site is still missing."""
        return self.of_whole(map(mean_of_known, zip(*self.dice.values(), strict=True)))

    def of_whole(self, figures: Iterable[float | None]) -> list[float | None]:
        """A figure by seed; None where a site is still missing."""
        return [found if whole else None for found, whole in zip(figures, self.whole, strict=True)]

    def by_seed(self) -> dict[int, float]:
        """Mean of the sites by those seeds that have one."""
        return {seed: mean for seed, mean in zip(self.seeds, self.means(), strict=True) if mean is not None}


def rows(cells: Sequence[FinishedCell]) -> list[Row]:
    """The cells that differ in their seed alone, or in the site they trained on alone, in one row.

    Of cells with the same settings, a default said in one and left out in another, the last one counts.
    """
    unlike = _unlike(cells)
    grouped: dict[tuple[str, str], dict[tuple[int, str | None], FinishedCell]] = {}
    for found in cells:
        changes = {**found.changes, **{name: found.settings.get(name) for name in unlike}}
        row = grouped.setdefault((label_of(changes), found.setting), {})
        row[found.seed, found.site] = found.changed(changes=changes)
    made = [_row(label, [*same.values()]) for (label, _), same in grouped.items()]
    return sorted(made, key=lambda row: place(row.changes.get("method"), row.label, row.setting))


def by_label(rows: Iterable[Row], setting: str) -> dict[str, Row]:
    """The rows of a setting."""
    return {row.label: row for row in rows if row.setting == setting}


def gains(federated: Row, local: Row | None) -> list[float]:
    """By how much the federation is better than what the sites reach alone, by those seeds that both have."""
    alone = local.by_seed() if local else {}
    return [mean - alone[seed] for seed, mean in federated.by_seed().items() if seed in alone]


def place(method: object, label: str, setting: str) -> tuple[int, list[tuple[int, int, str]], int]:
    """A row's place in a table: methods in the paper's order, numbers in theirs."""
    return METHODS.index(method) if method in METHODS else -1, in_order(label), SETTINGS.index(setting)


def markdown(table: Sequence[Row], sites: Sequence[str]) -> str:
    """The table in GitHub's form."""
    return markdown_table(columns(sites), [texts(row, sites) for row in table])


def console(cells: Sequence[FinishedCell]) -> str:
    """The table of cells for a console."""
    sites = sites_of(cells)
    drawn = Table(title="Test Dice of the final payload, mean ± spread over seeds")
    for name in columns(sites):
        drawn.add_column(name, justify="left" if name in ("", "setting") else "right")
    for row in rows(cells):
        drawn.add_row(*texts(row, sites))
    return as_text(drawn)


def write(out: Path, cells: Sequence[FinishedCell]) -> None:
    """Write `table.md` and `cells.jsonl` into the cells' folder."""
    cell.write_lines(out / "cells.jsonl", cells)
    with replacing(out / "table.md") as stream:
        stream.write(markdown(rows(cells), sites_of(cells)).encode())


def sites_of(cells: Sequence[FinishedCell]) -> list[str]:
    """The sites of all cells."""
    return list(dict.fromkeys(site for found in cells for site in found.sites))


def columns(sites: Sequence[str]) -> list[str]:
    """The heads of the table's columns; the first two hold words, the others figures."""
    return ["", "setting", *sites, "mean of sites", "MB up", "MB down", "minutes"]


def texts(row: Row, sites: Sequence[str]) -> list[str]:
    """A row of the table."""
    dice = [mean_and_spread(row.dice.get(site, []), 3) for site in sites]
    return [
        row.label,
        row.setting,
        *dice,
        mean_and_spread(row.means(), 3),
        mean_and_spread(row.up, 2),
        mean_and_spread(row.down, 2),
        mean_and_spread(row.of_whole(row.minutes), 1),
    ]


def label_of(changes: Mapping[str, object]) -> str:
    """A row's name, by its changes to the job."""
    words = [str(value) if name in SELF_EXPLAINING else f"{name} {value}" for name, value in changes.items()]
    return ", ".join(words) or "the job as it is"


def _unlike(cells: Sequence[FinishedCell]) -> list[str]:
    """Settings in which cells differ though they were varied alike: the job's were changed between their runs."""
    alike: dict[tuple[str, str], list[Mapping[str, object]]] = {}
    for found in cells:
        alike.setdefault((found.setting, label_of(found.changes)), []).append(found.settings)
    return sorted({name for same in alike.values() for name in _differing(same)} - {"seed"})


def _differing(settings: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Those that have several values; where one is missing, the software did not know it yet."""
    for name in set().union(*settings):
        first, *others = (one[name] for one in settings if name in one)
        if any(other != first for other in others):
            yield name


def _row(label: str, cells: Sequence[FinishedCell]) -> Row:
    seeds = sorted({found.seed for found in cells})
    of_seed = [[found for found in cells if found.seed == seed] for seed in seeds]
    first = cells[0]
    return Row(
        label,
        first.setting,
        changes=first.changes,
        settings=first.settings,
        seeds=seeds,
        whole=[first.setting != LOCAL or {found.site for found in same} == {*first.sites} for same in of_seed],
        dice={site: [_own(same, site) for same in of_seed] for site in first.sites},
        up=[mean_of_known(found.up for found in same) for same in of_seed],
        down=[mean_of_known(found.down for found in same) for same in of_seed],
        minutes=[sum(found.seconds for found in same) / 60 for same in of_seed],
    )


def _own(cells: Iterable[FinishedCell], site: str) -> float | None:
    """A site's test Dice: of its own model where every site has one."""
    return mean_of_known(found.dice.get(site) for found in cells if found.site in (None, site))
