"""The paper's table form over the cells of a grid: a row a method and setting, a column a site."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from flap_sam.errors import FlapSamError
from flap_sam.files import replacing
from flap_sam.means import mean_of_known
from flap_sam.reporting import round_log
from flap_sam.reporting.results import FINAL, read_test_dice
from flap_sam.reporting.round_log import RoundRecord
from flap_sam.reporting.run_record import FEDERATED, SETTINGS
from flap_sam.reporting.text import as_text, mean_and_spread

CELL = "cell.json"


@dataclass(frozen=True)
class Row:
    """One row, each figure of all seeds together.

    Args:
        dice: by site, the test Dice of every seed (mean over classes).
        up, down: megabytes that a site sent and received in a round.
    """

    label: str
    setting: str
    dice: dict[str, list[float | None]]
    up: list[float | None]
    down: list[float | None]
    minutes: list[float]

    def means(self) -> list[float | None]:
        """Mean of the sites, by seed."""
        return [mean_of_known(seed) for seed in zip(*self.dice.values(), strict=True)]


def read(out: Path) -> list[dict]:
    """The finished cells below a folder: note, test Dice by site, megabytes a site sent and received in a round."""
    return [_read(folder) for folder in folders(out)]


def folders(out: Path) -> list[Path]:
    """The folders of the finished cells below a folder."""
    return sorted(note.parent for note in out.glob(f"*/{CELL}"))


def rows(cells: Sequence[dict]) -> list[Row]:
    """The cells that differ in their seed alone, or in the site they trained on alone, in one row."""
    grouped: dict[tuple, list[dict]] = {}
    for cell in cells:
        grouped.setdefault((_label(cell), cell["setting"]), []).append(cell)
    return [
        _row(label, setting, grouped[label, setting])
        for label, setting in sorted(grouped, key=lambda key: (key[0], SETTINGS.index(key[1])))
    ]


def markdown(table: Sequence[Row], sites: Sequence[str]) -> str:
    """The table in GitHub's form."""
    head = columns(sites)
    lines = [head, ["---"] * len(head), *(texts(row, sites) for row in table)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def console(table: Sequence[Row], sites: Sequence[str]) -> str:
    """The table for a console."""
    drawn = Table(title="Test Dice of the final payload, mean ± spread over seeds")
    for name in columns(sites):
        drawn.add_column(name, justify="left" if name in ("", "setting") else "right")
    for row in table:
        drawn.add_row(*texts(row, sites))
    return as_text(drawn)


def write(out: Path) -> str:
    """Write `table.md` and `cells.jsonl` of all finished cells; returns the table for a console."""
    cells = read(out)
    table, sites = rows(cells), sites_of(cells)
    with replacing(out / "cells.jsonl") as stream:
        stream.write("".join(json.dumps(cell) + "\n" for cell in cells).encode())
    with replacing(out / "table.md") as stream:
        stream.write(markdown(table, sites).encode())
    return console(table, sites)


def sites_of(cells: Sequence[dict]) -> list[str]:
    """The sites of all cells."""
    return list(dict.fromkeys(site for cell in cells for site in cell["sites"]))


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
        mean_and_spread(row.minutes, 1),
    ]


def _row(label: str, setting: str, cells: Sequence[dict]) -> Row:
    seeds = sorted({cell["seed"] for cell in cells})
    of_seed = [[cell for cell in cells if cell["seed"] == seed] for seed in seeds]
    sites = cells[0]["sites"]
    return Row(
        label,
        setting,
        dice={site: [_own(same, site) for same in of_seed] for site in sites},
        up=[mean_of_known(cell["up"] for cell in same) for same in of_seed],
        down=[mean_of_known(cell["down"] for cell in same) for same in of_seed],
        minutes=[sum(cell["seconds"] for cell in same) / 60 for same in of_seed],
    )


def _own(cells: Iterable[dict], site: str) -> float | None:
    """A site's test Dice: of its own model where every site has one."""
    return mean_of_known(cell["dice"].get(site) for cell in cells if cell["site"] in (None, site))


def _label(cell: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in cell["changes"].items()) or "the job as it is"


def _read(folder: Path) -> dict:
    try:
        return _cell(folder)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FlapSamError(
            f"Cell {folder} cannot be read ({error}); remove it, and `compare` runs it again."
        ) from error


def _cell(folder: Path) -> dict:
    cell = json.loads((folder / CELL).read_text())
    tests, _ = read_test_dice(folder)
    rounds = round_log.read(folder)
    numbered = {f"site-{i}": name for i, name in enumerate(cell["sites"], 1)}
    federated = cell["setting"] == FEDERATED
    return cell | {
        "dice": {numbered.get(site, site): mean_of_known(report.test) for site, report in tests[FINAL].items()},
        **{way: _megabytes(rounds, f"bytes_{way}") if federated else None for way in ("up", "down")},
    }


def _megabytes(rounds: Sequence[RoundRecord], entry: str) -> float | None:
    return mean_of_known(getattr(site, entry) / 1e6 for record in rounds for site in record.sites.values())
