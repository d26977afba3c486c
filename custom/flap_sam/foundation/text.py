# SPDX-License-Identifier: Apache-2.0
"""Tables and figures as plain text."""

import re
from collections.abc import Iterable, Sequence
from io import StringIO

from rich.console import Console, RenderableType

from flap_sam.foundation.means import mean_of_known, spread_of_known

WIDTH = 120


def as_text(*parts: RenderableType) -> str:
    """The parts as rich prints them, without colours, markup or control characters."""
    printed = StringIO()
    out = Console(file=printed, width=WIDTH, highlight=False, markup=False, emoji=False)
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, str))
    return harmless(printed.getvalue())


def harmless(text: str) -> str:
    """The text with every unprintable character replaced by a mark; a file's name may hold any character."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def figure(value: float | None, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def with_spread(value: float | None, spread: float | None, digits: int = 3) -> str:
    """A mean and its spread, where there is one."""
    return figure(value, digits) + ("" if spread is None else f" ± {figure(spread, digits)}")


def mean_and_spread(values: Iterable[float | None], digits: int) -> str:
    """Mean ± sample standard deviation of what is known."""
    known = list(values)
    return with_spread(mean_of_known(known), spread_of_known(known), digits)


def in_order(name: str) -> list[tuple[int, int, str]]:
    """A sorting key by which site-2 goes before site-10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in GitHub's form."""
    return "".join("| " + " | ".join(line) + " |\n" for line in (head, ["---"] * len(head), *rows))


def count(number: int, noun: str, nouns: str | None = None) -> str:
    """So many of something, in the singular or the plural."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def size(number: float) -> str:
    """Bytes in the unit that fits, 10^6 or 10^9."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"


def duration(seconds: float) -> str:
    """A time in the unit that fits: minutes, hours or days."""
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds / 60:.1f} minutes"


def megabytes(number: float) -> str:
    """Bytes in units of 10^6."""
    return figure(number / 1e6, 2)
