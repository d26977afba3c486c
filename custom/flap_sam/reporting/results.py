"""The closing table of a run: test Dice by site and class, and where its files lie."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from flap_sam.errors import FlapSamError
from flap_sam.files import replacing
from flap_sam.reporting.text import as_text, figure

TEST_DICE = "test_dice.json"
FILES = (
    ("global_final.safetensors", "the last payload"),
    ("global_best.safetensors", "the payload with the best validation Dice"),
    ("rounds.jsonl", "the round log"),
    (TEST_DICE, "the table above"),
)


def write_test_dice(folder: Path, tables: Mapping[str, Mapping[str, Any]], best_round: int) -> None:
    """Write every payload's evaluation reports, by payload kind and site."""
    content = {
        "best_round": best_round,
        "payloads": {
            kind: {site: asdict(report) for site, report in reports.items()} for kind, reports in tables.items()
        },
    }
    with replacing(folder / TEST_DICE) as stream:
        stream.write((json.dumps(content, indent=1) + "\n").encode())


def results_below(work: Path) -> list[Path]:
    """The results folders of the finished runs below a folder."""
    return sorted(path.parent for path in work.rglob(f"results/{TEST_DICE}"))


def closing_summary(folder: Path) -> str:
    """Table of test Dice, validation over the rounds, and what lies in a results folder.

    Raises:
        FlapSamError: the folder is not that of a finished run.
    """
    try:
        content = json.loads((folder / TEST_DICE).read_text())
        rounds = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    except (OSError, json.JSONDecodeError) as error:
        raise FlapSamError(
            f"Results {folder} cannot be read ({error}); point to the folder of a finished run."
        ) from error
    final = _validation(content["payloads"]["final"])
    demo = ", ".join(site for site, record in rounds[0]["sites"].items() if record["demo"])
    return as_text(
        _dice_table(content["payloads"]),
        f"mean validation Dice: {figure(rounds[0]['validation'])} at the start, {figure(final)} at the end",
        f"best payload: the one that round {content['best_round']} started from",
        *([f"THE DEMO: {demo} worked on drawn volumes; this Dice says nothing about patients"] if demo else []),
        f"results in {folder}:",
        *(f"  {name:26} {meaning}" for name, meaning in FILES),
    )


def _dice_table(payloads: Mapping[str, Mapping[str, dict]]) -> Table:
    classes = len(next(iter(payloads["final"].values()))["test"])
    table = Table(title="Dice on the sites' test cases")
    table.add_column("site")
    table.add_column("cases", justify="right")
    for kind in payloads:
        for k in range(classes):
            table.add_column(f"{kind}\nclass {k + 1}", justify="right")
        table.add_column(f"{kind}\nmean", justify="right")
    rows = {site: [payloads[kind][site]["test"] for kind in payloads] for site in payloads["final"]}
    for site, by_kind in rows.items():
        cells = [figure(v) for dice in by_kind for v in (*dice, _mean(dice))]
        table.add_row(site, str(payloads["final"][site]["test_cases"]), *cells)
    table.add_section()
    means = []
    for kind in range(len(payloads)):
        columns = zip(*((*row[kind], _mean(row[kind])) for row in rows.values()), strict=True)
        means += [figure(_mean(column)) for column in columns]
    table.add_row("mean of sites", "", *means)
    return table


def _validation(reports: Mapping[str, dict]) -> float | None:
    return _mean([_mean(report["validation"]) for report in reports.values()])


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
