# SPDX-License-Identifier: Apache-2.0
"""The page of a comparison: what was run, the paper's tables and figure, and what of its claims reproduces."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from flap_sam.foundation.files import replacing
from flap_sam.foundation.means import mean_of_known
from flap_sam.foundation.text import figure, markdown_table, mean_and_spread
from flap_sam.records import cell
from flap_sam.records.cell import FinishedCell
from flap_sam.records.run_record import FEDERATED, LOCAL, SETTINGS
from flap_sam.report import beside_paper, claims, comparison, comparison_figure
from flap_sam.report.claims import Side, traffic_ratio
from flap_sam.report.comparison import Row
from flap_sam.report.summary import notices
from flap_sam.sam.weights import NAMES

VARIATIONS = {"rank": "Ranks", "adapter": "Adapters"}  # of the paper's Table 2, and of its Tables D and E
FULL = "fullft"


def write(
    path: Path, cells: Sequence[FinishedCell], seeds: Sequence[int], planned: int, beside: Sequence[Side] = ()
) -> None:
    """Write a page in Markdown, and under its name the cells (.jsonl) and the figure (.svg).

    The same cells give the same bytes.

    Args:
        cells: finished ones, one at least.
        seeds, planned: the seeds and the number of cells that there are to be.
        beside: rows that there are to be, beside which the paper's figures stand.
    """
    rows = comparison.rows(cells)
    drawing = path.with_suffix(".svg")
    cell.write_lines(path.with_suffix(".jsonl"), cells)
    if any(row.setting == FEDERATED for row in rows):
        with replacing(drawing) as stream:
            stream.write(comparison_figure.draw(rows))
    with replacing(path) as stream:
        stream.write(page(cells, rows, seeds, planned, drawing.name, beside).encode())


def page(
    cells: Sequence[FinishedCell],
    rows: Sequence[Row],
    seeds: Sequence[int],
    planned: int,
    drawing: str,
    beside: Sequence[Side] = (),
) -> str:
    """The page as Markdown; `drawing` is the name of its figure's file."""
    sites = comparison.sites_of(cells)
    parts = [
        "# Comparison",
        f"Made by `flap-sam compare`. Finished cells: {len(cells)} of {planned}.",
        *(f"> {notice}" for notice in notices((found.run.demo, found.run.weights) for found in cells)),
        "## What was run",
        "\n".join(f"- {fact}" for fact in _facts(cells, seeds)),
        *(beside_paper.parts(cells, rows, beside) if beside else ()),
        *_verdicts(rows, seeds),
        *_traffic(rows, drawing),
        *_methods(rows, sites),
        *_variations(rows, sites),
        "## Machine time",
        markdown_table(["minutes", *SETTINGS, "all"], _minutes(rows)),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _facts(cells: Sequence[FinishedCell], seeds: Sequence[int]) -> Iterator[str]:
    network = f"{_all(cells, 'backbone')} at {_all(cells, 'image_size')} pixels"
    start = _texts(NAMES[found.run.weights] for found in cells)
    yield f"job: `{_texts(found.job for found in cells)}`, dataset {_all(cells, 'dataset')}"
    yield f"data: {_texts(found.data for found in cells)}"
    yield f"network: {network}, {_all(cells, 'classes')} classes, from {start}"
    yield f"rounds: {_all(cells, 'rounds')}; seeds: {_texts(seeds)}"
    yield f"machine time: {sum(found.seconds for found in cells) / 3600:,.1f} hours"
    versions = [found.run.attempts[0].versions for found in cells]
    yield "software: " + ", ".join(f"{name} {_texts(told[name] for told in versions)}" for name in versions[0])


def _all(cells: Sequence[FinishedCell], name: str) -> str:
    """A setting's values."""
    return _texts(found.settings[name] for found in cells)


def _texts(values: Iterable[object]) -> str:
    """Every value once, in order of appearance."""
    return ", ".join(dict.fromkeys(map(str, values)))


def _verdicts(rows: Sequence[Row], seeds: Sequence[int]) -> Iterator[str]:
    """What became of the paper's claims; nothing where the cells are not of them."""
    if found := claims.verdicts(rows, seeds):
        yield "## What reproduces"
        yield claims.markdown(found)
        yield claims.RULE


def _traffic(rows: Sequence[Row], drawing: str) -> Iterator[str]:
    """The figure and its numbers; nothing without a federation."""
    local, federated = (comparison.by_label(rows, setting) for setting in (LOCAL, FEDERATED))
    head = ["federated", "test Dice", "gain over local", "MB up", "MB down", "times less"]
    lines = [_costs_and_gains(row, local.get(label), federated.get(FULL)) for label, row in federated.items()]
    if lines:
        yield "## Dice against traffic"
        yield f"![Test Dice against the megabytes that a site sends in a round]({drawing})"
        yield markdown_table(head, lines)
        yield (
            "Mean of the sites ± spread over the seeds. Megabytes of a site and round, and how many times less it "
            f"sends than under `{FULL}`; the first round, in which only the experiment comes down, counts."
        )


def _costs_and_gains(row: Row, local: Row | None, full: Row | None) -> list[str]:
    gains = comparison.gains(row, local)
    up, down = (mean_of_known(way) for way in (row.up, row.down))
    less = traffic_ratio(row, full) if full else None
    dice, gain = (mean_and_spread(values, 3) for values in (row.means(), gains))
    return [row.label, dice, gain, figure(up, 2), figure(down, 2), figure(less, 1)]


def _methods(rows: Sequence[Row], sites: Sequence[str]) -> Iterator[str]:
    """The rows that vary neither the rank nor the adapter; nothing where there is none."""
    if methods := [row for row in rows if not VARIATIONS.keys() & row.changes.keys()]:
        yield "## Methods"
        yield comparison.markdown(methods, sites)
        yield "Test Dice of the final payload, mean ± spread over the seeds. A local row holds every site's own model."


def _variations(rows: Sequence[Row], sites: Sequence[str]) -> Iterator[str]:
    """For the rank and for the adapter a table of the rows that vary it, and of those that they vary."""
    for name, title in VARIATIONS.items():
        varying = [row for row in rows if name in row.changes]
        bases = [(_without(row.changes, name), row.setting) for row in varying]
        usual = [row for row in rows if (row.changes, row.setting) in bases]
        if varying:
            yield f"## {title}"
            yield comparison.markdown([*usual, *varying], sites)
        if usual:
            yield f"Where a row names no {name}, it is {_texts(row.settings[name] for row in usual)}."


def _without(changes: Mapping[str, object], name: str) -> dict[str, object]:
    return {other: value for other, value in changes.items() if other != name}


def _minutes(rows: Sequence[Row]) -> Iterator[list[str]]:
    labels = dict.fromkeys(row.label for row in rows)
    for label in labels:
        by_setting = [sum(sum(r.minutes) for r in rows if (r.label, r.setting) == (label, s)) for s in SETTINGS]
        yield [label, *(figure(minutes or None, 1) for minutes in by_setting), figure(sum(by_setting), 1)]
