# SPDX-License-Identifier: Apache-2.0
"""The parts of a report's page, and its HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from flap_sam.report.figures import Figure

FEW_COLUMNS, FEW_CHARACTERS = 6, 40


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first `words` columns are words, the others figures; `foot` are rows that sum up."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    foot: Sequence[Sequence[str]] = ()
    words: int = 1
    note: str = ""

    @property
    def wide(self) -> bool:
        """Whether it takes the page's whole width."""
        return len(self.head) > FEW_COLUMNS or any(len(cell) > FEW_CHARACTERS for row in self.rows for cell in row)


@dataclass(frozen=True)
class Bar:
    """A length beside others; `share` is of the longest."""

    name: str
    text: str
    share: float


@dataclass(frozen=True)
class Picture:
    """A PNG as base64 and what it shows."""

    content: str
    text: str


@dataclass(frozen=True)
class Section:
    """One heading and what stands below it."""

    id: str
    title: str
    sentences: Sequence[str] = ()
    points: Sequence[str] = ()
    bars: Sequence[Bar] = ()
    figures: Sequence[Figure] = ()
    pictures: Sequence[Picture] = ()
    colours: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Page:
    """A whole page.

    Args:
        facts: lines below the title; notices: what must not be overlooked.
        health: whether all is well, and the sentence that says so.
        figures: (name, value, remark), the answer at a glance.
    """

    title: str
    facts: Sequence[str]
    notices: Sequence[str]
    health: tuple[bool, str] | None
    figures: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]


def render(page: Page) -> str:
    """One file of HTML: no script, and nothing is loaded from elsewhere. Every text is escaped."""
    environment = Environment(
        loader=PackageLoader("flap_sam.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(page=page)
