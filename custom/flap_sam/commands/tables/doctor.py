# SPDX-License-Identifier: Apache-2.0
"""The doctor's report as text."""

from collections.abc import Sequence

from rich.table import Table

from flap_sam.data.findings import ERROR, Finding, Range, Report, SiteSummary
from flap_sam.data.manifest import SPLITS
from flap_sam.foundation.text import as_text, count

RANGES = {
    "slices": "slices",
    "slice_mm": "slice mm",
    "row_mm": "row mm",
    "column_mm": "column mm",
    "lowest": "lowest intensity",
    "highest": "highest intensity",
}


def report_table(report: Report) -> str:
    """Two tables by site, how many cases are whole and how they vary, then the findings, errors first."""
    errors = sum(finding.severity == ERROR for finding in report.findings)
    ordered = sorted(report.findings, key=lambda finding: finding.severity != ERROR)
    return as_text(
        _counts(report),
        _ranges(report.sites),
        *map(_line, ordered),
        f"{report.examined}: {count(errors, 'error')}, {count(len(ordered) - errors, 'warning')}",
    )


def _counts(report: Report) -> Table:
    table = Table(title="cases that are whole, of those expected")
    for column in ("site", *SPLITS, *(f"with {name}" for name in report.classes)):
        table.add_column(column, justify="left" if column == "site" else "right")
    for site in report.sites:
        counts = [f"{site.whole[split]} of {site.expected[split]}" if site.expected[split] else "-" for split in SPLITS]
        table.add_row(site.site, *counts, *(str(site.holding.get(name, 0)) for name in report.classes))
    return table


def _ranges(sites: Sequence[SiteSummary]) -> Table:
    table = Table(title="median over a site's whole cases (lowest to highest)")
    table.add_column("site")
    for title in RANGES.values():
        table.add_column(title, justify="right")
    for site in sites:
        table.add_row(site.site, *(_range(site.ranges.get(name)) for name in RANGES))
    return table


def _range(found: Range | None) -> str:
    if found is None:
        return "-"
    if found.minimum == found.maximum:
        return f"{found.median:.4g}"
    return f"{found.median:.4g} ({found.minimum:.4g} to {found.maximum:.4g})"


def _line(finding: Finding) -> str:
    place = f"site {finding.site}" + (f", {finding.case}" if finding.case else "")
    return f"{finding.severity}: {place}: {finding.sentence}"
