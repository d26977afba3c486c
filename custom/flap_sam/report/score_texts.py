# SPDX-License-Identifier: Apache-2.0
"""What the sites' scores are in a table: the texts of its cells, for the closing summary and for the page."""

from collections.abc import Callable, Iterable

from flap_sam.foundation.means import mean_of_known
from flap_sam.foundation.text import figure, in_order
from flap_sam.records.results import Payloads
from flap_sam.records.scores import Evaluation

MeanAndSpread = Callable[[float | None, float | None], str]


def sites_of(payloads: Payloads) -> list[str]:
    """The sites that scored any of the payloads."""
    return sorted({site for reports in payloads.values() for site in reports}, key=in_order)


def dice_row(payloads: Payloads, site: str, classes: int, told: MeanAndSpread) -> list[str]:
    """A site's number of test cases; then for every payload its test Dice of each class, and their mean.

    Args:
        told: how a mean and its spread are written.
    """
    reports = [reports.get(site) for reports in payloads.values()]
    cases = next(figure(report.test_cases, 0) for report in reports if report)
    return [cases, *(text for report in reports for text in _dice_texts(report, classes, told))]


def _dice_texts(report: Evaluation | None, classes: int, told: MeanAndSpread) -> list[str]:
    if report is None:
        return ["-"] * (classes + 1)
    by_class = zip(report.test, report.test_spread, report.test_with, strict=True)
    return [*(told(v, spread) + of_n(n) for v, spread, n in by_class), figure(mean_of_known(report.test))]


def has_counts(reports: Iterable[Evaluation]) -> bool:
    """Whether a site tells how many of its cases have a class; under differential privacy none does."""
    return any(n is not None for report in reports for n in report.test_with)


def outcome_texts(report: Evaluation) -> list[str]:
    """Of every class: in how many of the cases that have it, it was missed, and in how many others it was found."""
    texts = []
    for n, missed, false in zip(report.test_with, report.test_missed, report.test_false_positives, strict=True):
        without = None if n is None or report.test_cases is None else report.test_cases - n
        texts += [_of(missed, n), _of(false, without)]
    return texts


def _of(number: int | None, whole: int | None) -> str:
    return "-" if number is None else f"{number} of {figure(whole, 0)}"


def has_surfaces(reports: Iterable[Evaluation]) -> bool:
    """Whether a site measured surfaces."""
    return any(value is not None for report in reports for value in report.surface_dice)


def surface_texts(report: Evaluation) -> list[str]:
    """Hausdorff 95 in mm of every class, then their surface Dice."""
    return [*(figure(v, 1) for v in report.hausdorff), *map(figure, report.surface_dice)]


def by_class(reports: Iterable[Evaluation]) -> list[tuple[float | None, ...]]:
    """The sites' test Dice of each class, and last their means over the classes."""
    return list(zip(*([*report.test, mean_of_known(report.test)] for report in reports), strict=True))


def n_known(values: Iterable[float | None]) -> int:
    """How many values are known: the n of their mean."""
    return sum(value is not None for value in values)


def of_n(n: int | None) -> str:
    """A mean's n as text; empty where it is 0 or not known."""
    return f" n={n}" if n else ""
