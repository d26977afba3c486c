# SPDX-License-Identifier: Apache-2.0
"""The closing summary of a run: test Dice by site and class, where its files lie, and what to do with them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote

from rich.table import Table

from flap_sam.foundation.means import mean_of_known
from flap_sam.foundation.text import as_text, figure
from flap_sam.records import round_log
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES, TEST_DICE, Payloads, read_scores, read_test_dice
from flap_sam.records.round_log import ROUND_LOG
from flap_sam.records.run_record import RUN_RECORD
from flap_sam.records.scores import Evaluation
from flap_sam.report.score_texts import (
    by_class,
    dice_row,
    has_counts,
    has_surfaces,
    n_known,
    of_n,
    outcome_texts,
    sites_of,
    surface_texts,
)

MEANINGS = (
    (PAYLOAD_FILES[FINAL], "the last payload"),
    (PAYLOAD_FILES[BEST], "the payload with the best validation Dice"),
    (ROUND_LOG, "the round log"),
    (RUN_RECORD, "when and how it was run, by which versions, with which sites"),
    (TEST_DICE, "test Dice by site, class and payload"),
)


def closing_summary(folder: Path) -> str:
    """Table of test Dice, validation over the rounds, what lies in a results folder, and what to do with it.

    Raises:
        FlapSamError: the folder is not that of a finished run, or a file in it is damaged.
    """
    tests, best_round = read_test_dice(folder)
    departures = read_scores(folder).departures
    rounds = round_log.read(folder)
    final = mean_of_known([mean_of_known(report.validation) for report in tests[FINAL].values()])
    demo = ", ".join(site for site, record in rounds[0].sites.items() if record.demo)
    return as_text(
        _dice_table(tests),
        *(f"{site} {how}: its Dice is not the exported payload's" for site, how in departures.items()),
        *([_outcome_table(tests[FINAL])] if has_counts(tests[FINAL].values()) else []),
        *([_surface_table(tests)] if has_surfaces(tests[FINAL].values()) else []),
        f"mean validation Dice: {figure(rounds[0].validation)} at the start, {figure(final)} at the end",
        _best(best_round, len(rounds)),
        *([f"THE DEMO: {demo} worked on drawn volumes; this Dice says nothing about patients"] if demo else []),
        f"results in {folder}:",
        *(f"  {name:26} {meaning}" for name, meaning in MEANINGS),
        "to go on:",
        *(f"  {aim:26} flap-sam {command}" for aim, command in _next_steps(folder)),
    )


def _next_steps(folder: Path) -> Iterator[tuple[str, str]]:
    payload = quote(str(folder / PAYLOAD_FILES[BEST]))
    yield "this run on a page", f"report {quote(str(folder))} -o report.html"
    yield "masks of new scans", f"predict --payload {payload} --input scan.nii.gz --output masks"
    yield "the model for other tools", "export --help"


def _best(number: int, rounds: int) -> str:
    return f"best payload: {'the last one' if number == rounds else f'the one that round {number} started from'}"


def _dice_table(payloads: Payloads) -> Table:
    table = Table(title="Dice on the sites' test cases, mean ± spread over the n cases that have the class")
    table.add_column("site")
    table.add_column("cases", justify="right")
    classes = _classes(payloads)
    for kind in payloads:
        for k in range(classes):
            table.add_column(f"{kind}\nclass {k + 1}", justify="right")
        table.add_column(f"{kind}\nmean", justify="right")
    for site in sites_of(payloads):
        table.add_row(site, *dice_row(payloads, site, classes, _with_spread))
    table.add_section()
    columns = [column for reports in payloads.values() for column in by_class(reports.values())]
    table.add_row("mean of n sites", "", *(figure(mean_of_known(c)) + of_n(n_known(c)) for c in columns))
    return table


def _outcome_table(reports: Mapping[str, Evaluation]) -> Table:
    table = Table(title="What the final payload missed, of the cases with a class, and found in cases without it")
    table.add_column("site")
    for k in range(_classes({FINAL: reports})):
        for what in ("missed", "false positive"):
            table.add_column(f"{what}\nclass {k + 1}", justify="right")
    for site, report in reports.items():
        table.add_row(site, *outcome_texts(report))
    return table


def _surface_table(payloads: Payloads) -> Table:
    table = Table(title="Surfaces of the final payload on the sites' test cases, missed organs at the scan's diagonal")
    table.add_column("site")
    for name in ("Hausdorff 95, mm", "surface Dice"):
        for k in range(_classes(payloads)):
            table.add_column(f"{name}\nclass {k + 1}", justify="right")
    for site, report in payloads[FINAL].items():
        table.add_row(site, *surface_texts(report))
    return table


def _classes(payloads: Payloads) -> int:
    return len(next(iter(payloads[FINAL].values())).test)


def _with_spread(value: float | None, spread: float | None) -> str:
    return figure(value) if spread is None else f"{figure(value)} ±{figure(spread, 2)}"
