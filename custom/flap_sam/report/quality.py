# SPDX-License-Identifier: Apache-2.0
"""How well a run segments: Dice, surfaces, comparison, pictures."""

import base64
from collections.abc import Iterable, Sequence

from flap_sam.data.picture import colour_of
from flap_sam.foundation.means import mean_of_known
from flap_sam.foundation.text import figure, mean_and_spread, with_spread
from flap_sam.records.cell import FinishedCell
from flap_sam.records.pictures import Caption
from flap_sam.records.results import FINAL
from flap_sam.records.run_record import CENTRALIZED, FEDERATED
from flap_sam.records.scores import Evaluation
from flap_sam.report import comparison, figures
from flap_sam.report.page import Picture, Section, Table
from flap_sam.report.run import FinishedRun
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


def dice(run: FinishedRun) -> Section:
    """Validation Dice over the rounds, test Dice and surfaces by site."""
    final = run.tests.get(FINAL, {})
    validation = {site: run.by_round(site, lambda a: mean_of_known(a.validation)) for site in run.answering}
    if final:
        for site, series in validation.items():
            shown = [final[site]] if site in final else final.values() if run.record.setting == CENTRALIZED else []
            series.append(mean_of_known(mean_of_known(report.validation) for report in shown))
    drawn = figures.lines(
        "dice",
        "Validation Dice by site over the rounds",
        "Dice",
        validation,
        "Of the payload that a round started from, mean over the classes"
        + ("; the last point is the final payload." if final else "."),
        ylim=(0, 1),
    )
    by_site = [figures.dice_by_site(final, _classes(run))] if final else []
    tables = [_test_table(run)] if run.tests else []
    if has_counts(final.values()):
        tables.append(_outcome_table(run))
    if has_surfaces(final.values()):
        tables.append(_surface_table(run))
    return Section("dice", "Dice", figures=[drawn, *by_site], tables=tables)


def _test_table(run: FinishedRun) -> Table:
    kinds, classes = list(run.tests), run.experiment.classes
    head = ["site", "cases", *(f"{kind}, {name}" for kind in kinds for name in [*_classes(run), "mean"])]
    rows = [[site, *dice_row(run.tests, site, classes, with_spread)] for site in sites_of(run.tests)]
    means = [text for reports in run.tests.values() for text in _over_sites(reports.values(), classes)]
    return Table(
        "Dice on the sites' test cases",
        head,
        rows,
        foot=[["mean of sites", "", *means]],
        note="Mean ± sample standard deviation: over the n cases of a site that have the class, in the last row over n "
        "sites.",
    )


def _over_sites(reports: Iterable[Evaluation], classes: int) -> list[str]:
    return [mean_and_spread(c, 3) + of_n(n_known(c)) for c in by_class(reports) or [()] * (classes + 1)]


def _surface_table(run: FinishedRun) -> Table:
    head = ["site", *(f"{what}, {name}" for what in ("Hausdorff 95, mm", "surface Dice") for name in _classes(run))]
    rows = [[site, *surface_texts(report)] for site, report in run.tests[FINAL].items()]
    note = "Means over the cases that have the class; in one where it was missed, Hausdorff 95 is the scan's diagonal."
    return Table("Surfaces of the final payload on the sites' test cases", head, rows, note=note)


def _outcome_table(run: FinishedRun) -> Table:
    head = ["site", *(f"{what}, {name}" for name in _classes(run) for what in ("missed", "false positive"))]
    rows = [[site, *outcome_texts(report)] for site, report in run.tests[FINAL].items()]
    note = "Of the cases that have the class, and of those that do not. A missed case counts as 0 in the mean Dice, a "
    note += "false positive in no mean."
    return Table("What the final payload missed, and found where there is nothing", head, rows, note=note)


def _classes(run: FinishedRun) -> list[str]:
    """The classes' names where pictures tell them; the server knows only their number."""
    numbered = [f"class {k + 1}" for k in range(run.experiment.classes)]
    told = [caption.classes for caption, _ in run.pictures]
    return told[0] if told and len(told[0]) == len(numbered) and all(names == told[0] for names in told) else numbered


def compared(cells: Sequence[FinishedCell]) -> Section:
    """The table of a grid, and its federated rows against their traffic."""
    rows, sites = comparison.rows(cells), comparison.sites_of(cells)
    table = Table(
        "Test Dice of the final payload",
        comparison.columns(sites),
        [comparison.texts(row, sites) for row in rows],
        words=2,
        note="Mean ± spread over the seeds. MB a site and round. A local row holds every site's own model.",
    )
    drawn = [figures.dice_against_traffic(rows)] if any(row.setting == FEDERATED for row in rows) else []
    return Section("comparison", "Local, federated, centralised", figures=drawn, tables=[table])


def pictures(run: FinishedRun) -> list[Section]:
    """What the sites drew; nothing where they drew nothing."""
    if not run.pictures:
        return []
    colours = [("#{:02x}{:02x}{:02x}".format(*colour_of(label)), name) for label, name in enumerate(_classes(run), 1)]
    return [
        Section(
            "pictures",
            "Best and worst test cases",
            [
                "By mean Dice, of the final payload. The truth is tinted, the prediction outlined, in the slice with "
                "most of the truth. R and L are the patient's right and left."
            ],
            pictures=[Picture(base64.b64encode(png).decode(), _caption(caption)) for caption, png in run.pictures],
            colours=colours,
        )
    ]


def _caption(caption: Caption) -> str:
    return f"{caption.site}, Dice {figure(caption.mean)}, slice {caption.slice} of {caption.slices}"
