"""The paper's table form over the cells of a grid: a row a method and setting, a column a site."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from flap_sam.errors import FlapSamError
from flap_sam.experiment import METHODS
from flap_sam.files import replacing
from flap_sam.means import mean_of_known
from flap_sam.reporting import round_log, run_record
from flap_sam.reporting.results import FINAL, read_test_dice
from flap_sam.reporting.round_log import RoundRecord
from flap_sam.reporting.run_record import FEDERATED, LOCAL, SETTINGS
from flap_sam.reporting.text import as_text, in_order, markdown_table, mean_and_spread

CELL = "cell.json"
SELF_EXPLAINING = ("method", "adapter")  # their values need no name beside them


@dataclass(frozen=True)
class Row:
    """One row, each figure of all seeds together, in the order of `seeds`.

    Args:
        changes: settings in which it may differ from other rows; settings: all of them, where the cells tell them.
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
        means = map(mean_of_known, zip(*self.dice.values(), strict=True))
        return [mean if whole else None for mean, whole in zip(means, self.whole, strict=True)]

    def by_seed(self) -> dict[int, float]:
        """Mean of the sites by those seeds that have one."""
        return {seed: mean for seed, mean in zip(self.seeds, self.means(), strict=True) if mean is not None}


def read(out: Path) -> list[dict]:
    """The finished cells below a folder: note, run record, test Dice by site, megabytes up and down in a round."""
    return [_read(folder) for folder in folders(out)]


def folders(out: Path) -> list[Path]:
    """The folders of the finished cells below a folder."""
    return sorted(note.parent for note in out.glob(f"*/{CELL}"))


def rows(cells: Sequence[dict]) -> list[Row]:
    """The cells that differ in their seed alone, or in the site they trained on alone, in one row."""
    unlike = _unlike(cells)
    grouped: dict[tuple[str, str], list[dict]] = {}
    for cell in cells:
        changes = cell["changes"] | {name: value for name, value in cell.get("settings", {}).items() if name in unlike}
        grouped.setdefault((label_of(changes), cell["setting"]), []).append(cell | {"changes": changes})
    return sorted((_row(label, same) for (label, _), same in grouped.items()), key=_place)


def markdown(table: Sequence[Row], sites: Sequence[str]) -> str:
    """The table in GitHub's form."""
    return markdown_table(columns(sites), [texts(row, sites) for row in table])


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


def label_of(changes: Mapping[str, object]) -> str:
    """A row's name, by its changes to the job."""
    words = [str(value) if name in SELF_EXPLAINING else f"{name} {value}" for name, value in changes.items()]
    return ", ".join(words) or "the job as it is"


def data_text(data: Mapping | None) -> str:
    """A cell's data in few words: what the volumes are, and every site's training slices."""
    if data is None:
        return "data that they do not tell"
    return (
        f"{data['source']} (training slices: {', '.join(f'{site} {n}' for site, n in data['slices'].items())}; "
        f"manifests {data['sha256'][:8]})"
    )


def _unlike(cells: Sequence[dict]) -> list[str]:
    """Settings in which cells differ though they were varied alike: the job's were changed between their runs."""
    alike: dict[tuple[str, str], list[dict]] = {}
    for cell in cells:
        settings = {name: value for name, value in cell.get("settings", {}).items() if name != "seed"}
        alike.setdefault((cell["setting"], label_of(cell["changes"])), []).append(settings)
    pairs = [(found[0], other) for found in alike.values() for other in found]
    return sorted({name for one, other in pairs for name in one.keys() & other.keys() if one[name] != other[name]})


def _place(row: Row) -> tuple:
    """In a table: methods in the paper's order, numbers in theirs."""
    method = row.changes.get("method")
    return METHODS.index(method) if method in METHODS else -1, in_order(row.label), SETTINGS.index(row.setting)


def _row(label: str, cells: Sequence[dict]) -> Row:
    seeds = sorted({cell["seed"] for cell in cells})
    of_seed = [[cell for cell in cells if cell["seed"] == seed] for seed in seeds]
    sites, setting = cells[0]["sites"], cells[0]["setting"]
    return Row(
        label,
        setting,
        changes=cells[0]["changes"],
        settings=cells[0].get("settings", {}),
        seeds=seeds,
        whole=[setting != LOCAL or {cell["site"] for cell in same} == set(sites) for same in of_seed],
        dice={site: [_own(same, site) for same in of_seed] for site in sites},
        up=[mean_of_known(cell["up"] for cell in same) for same in of_seed],
        down=[mean_of_known(cell["down"] for cell in same) for same in of_seed],
        minutes=[sum(cell["seconds"] for cell in same) / 60 for same in of_seed],
    )


def _own(cells: Iterable[dict], site: str) -> float | None:
    """A site's test Dice: of its own model where every site has one."""
    return mean_of_known(cell["dice"].get(site) for cell in cells if cell["site"] in (None, site))


def _read(folder: Path) -> dict:
    try:
        return _cell(folder) | {"run": asdict(run_record.read(folder))}
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
