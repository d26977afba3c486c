# SPDX-License-Identifier: Apache-2.0
"""The closing summary of a run: test Dice by site and class, where its files lie, and what to do with them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from shlex import quote

from rich.table import Table

from flap_sam.foundation.means import mean_of_known
from flap_sam.foundation.text import as_text, figure, in_order
from flap_sam.records import round_log
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES, TEST_DICE, Payloads, read_scores, read_test_dice
from flap_sam.records.round_log import ROUND_LOG
from flap_sam.records.run_record import RUN_RECORD
from flap_sam.records.scores import Evaluation

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
        *([_outcome_table(tests[FINAL])] if _has_counts(tests[FINAL]) else []),
        *([_surface_table(tests)] if _has_surfaces(tests) else []),
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
    sites = sorted({site for reports in payloads.values() for site in reports}, key=in_order)
    for site in sites:
        reports = [reports.get(site) for reports in payloads.values()]
        cells = [cell for report in reports for cell in _dice_cells(report, classes)]
        table.add_row(site, figure(next(r for r in reports if r).test_cases, 0), *cells)
    table.add_section()
    columns = [column for reports in payloads.values() for column in by_class(reports.values())]
    table.add_row("mean of n sites", "", *(figure(mean_of_known(c)) + of_n(n_known(c)) for c in columns))
    return table


def _dice_cells(report: Evaluation | None, classes: int) -> list[str]:
    if report is None:
        return ["-"] * (classes + 1)
    told = zip(report.test, report.test_spread, report.test_with, strict=True)
    return [*(_with_spread(v, spread) + of_n(n) for v, spread, n in told), figure(mean_of_known(report.test))]


def outcome_texts(report: Evaluation) -> list[str]:
    """Of every class: in how many of the cases that have it, it was missed, and in how many others it was found."""
    texts = []
    for n, missed, false in zip(report.test_with, report.test_missed, report.test_false_positives, strict=True):
        without = None if n is None or report.test_cases is None else report.test_cases - n
        texts += [_of(missed, n), _of(false, without)]
    return texts


def _of(number: int | None, whole: int | None) -> str:
    return "-" if number is None else f"{number} of {figure(whole, 0)}"


def _has_counts(reports: Mapping[str, Evaluation]) -> bool:
    return any(n is not None for report in reports.values() for n in report.test_with)


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
        table.add_row(site, *(figure(v, 1) for v in report.hausdorff), *map(figure, report.surface_dice))
    return table


def _has_surfaces(payloads: Payloads) -> bool:
    return any(value is not None for report in payloads[FINAL].values() for value in report.surface_dice)


def _classes(payloads: Payloads) -> int:
    return len(next(iter(payloads[FINAL].values())).test)


def by_class(reports: Iterable[Evaluation]) -> list[tuple[float | None, ...]]:
    """The sites' test Dice of each class, and last their means over the classes."""
    return list(zip(*([*report.test, mean_of_known(report.test)] for report in reports), strict=True))


def n_known(values: Iterable[float | None]) -> int:
    """How many values are known: the n of their mean."""
    return sum(value is not None for value in values)


def of_n(n: int | None) -> str:
    """A mean's n as text; empty where it is 0 or not known."""
    return f" n={n}" if n else ""


def _with_spread(value: float | None, spread: float | None) -> str:
    return figure(value) if spread is None else f"{figure(value)} ±{figure(spread, 2)}"
