"""The closing table of a run: test Dice by site and class, and where its files lie."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from flap_sam.errors import FlapSamError
from flap_sam.files import replacing
from flap_sam.means import mean_of_known
from flap_sam.reporting.text import as_text, figure

FINAL, BEST = "final", "best"
PAYLOAD_FILES = {FINAL: "global_final.safetensors", BEST: "global_best.safetensors"}
ROUND_LOG = "rounds.jsonl"
TEST_DICE = "test_dice.json"
MEANINGS = (
    (PAYLOAD_FILES[FINAL], "the last payload"),
    (PAYLOAD_FILES[BEST], "the payload with the best validation Dice"),
    (ROUND_LOG, "the round log"),
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
        rounds = [json.loads(line) for line in (folder / ROUND_LOG).read_text().splitlines()]
    except (OSError, json.JSONDecodeError) as error:
        raise FlapSamError(
            f"Results {folder} cannot be read ({error}); point to the folder of a finished run."
        ) from error
    final = _validation(content["payloads"][FINAL])
    demo = ", ".join(site for site, record in rounds[0]["sites"].items() if record["demo"])
    return as_text(
        _dice_table(content["payloads"]),
        f"mean validation Dice: {figure(rounds[0]['validation'])} at the start, {figure(final)} at the end",
        _best(content["best_round"], len(rounds)),
        *([f"THE DEMO: {demo} worked on drawn volumes; this Dice says nothing about patients"] if demo else []),
        f"results in {folder}:",
        *(f"  {name:26} {meaning}" for name, meaning in MEANINGS),
    )


def _best(number: int, rounds: int) -> str:
    return f"best payload: {'the last one' if number == rounds else f'the one that round {number} started from'}"


def _dice_table(payloads: Mapping[str, Mapping[str, dict]]) -> Table:
    classes = len(next(iter(payloads[FINAL].values()))["test"])
    table = Table(title="Dice on the sites' test cases")
    table.add_column("site")
    table.add_column("cases", justify="right")
    for kind in payloads:
        for k in range(classes):
            table.add_column(f"{kind}\nclass {k + 1}", justify="right")
        table.add_column(f"{kind}\nmean", justify="right")
    rows = {site: [payloads[kind][site]["test"] for kind in payloads] for site in payloads[FINAL]}
    for site, by_kind in rows.items():
        cells = [figure(v) for dice in by_kind for v in (*dice, mean_of_known(dice))]
        table.add_row(site, str(payloads[FINAL][site]["test_cases"]), *cells)
    table.add_section()
    means = []
    for kind in range(len(payloads)):
        columns = zip(*((*row[kind], mean_of_known(row[kind])) for row in rows.values()), strict=True)
        means += [figure(mean_of_known(column)) for column in columns]
    table.add_row("mean of sites", "", *means)
    return table


def _validation(reports: Mapping[str, dict]) -> float | None:
    return mean_of_known([mean_of_known(report["validation"]) for report in reports.values()])
