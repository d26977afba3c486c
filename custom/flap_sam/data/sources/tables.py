# SPDX-License-Identifier: Apache-2.0
"""The tables that deal your own cases to sites, as spreadsheets write them."""

import codecs
import csv
from pathlib import Path

from flap_sam.data.manifest import SPLITS, Split
from flap_sam.errors import FlapSamError
from flap_sam.foundation.names import is_name

COLUMNS = ("case", "site", "split")
TABLE_SPLITS = ("train", "test")
DELIMITERS = (",", ";", "\t")
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
TOLD = "sep="  # with which Excel names its delimiter, in a line before the table

Rows = list[tuple[int, dict[str, str]]]


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a table whose first line names its columns; others than those asked for are left out.

    Args:
        columns: the first one names the case; "site" and "split" are checked where they are among them.

    Raises:
        FlapSamError: as `rows_of`; or a line lacks a value, lists a case again, or has a case, site or split that is
            none.
    """
    rows = rows_of(path, columns)
    seen: set[str] = set()
    for line, values in rows:
        case = values[columns[0]]
        if not _is_right(values, columns[0]) or case in seen:
            found = ", ".join(f"{column} {value!r}" for column, value in values.items())
            raise FlapSamError(
                f"{path} has in line {line} {found}; expected a case not listed before"
                f"{', a site name' if 'site' in columns else ''} and the split train or test; correct the line."
            )
        seen.add(case)
    return [values for _, values in rows]


def split_of(text: str) -> Split:
    """The split that a table names; raises StopIteration where it is none, which `read_table` has refused."""
    return next(split for split in SPLITS if split == text)


def rows_of(path: Path, columns: tuple[str, ...]) -> Rows:
    """The lines of a table by number, each with the columns asked for; empty lines are left out.

    Values are divided by commas, semicolons or tabs, lines end as on any system, and the text is UTF-8, or UTF-16 with
    its mark. A value that is missing is "".

    Raises:
        FlapSamError: the file cannot be read, its first line does not name the columns, or it has no other line.
    """
    try:
        lines = read_text(path).splitlines()
        start, delimiter = _dialect(lines)
        table = list(csv.reader(lines[start:], delimiter=delimiter, skipinitialspace=True))
    except (OSError, ValueError, csv.Error) as problem:
        raise FlapSamError(
            f"{path} cannot be read ({problem}), expected a table in UTF-8 with the columns {', '.join(columns)}."
        ) from problem
    names = [name.strip() for name in table[0]] if table else []
    for column in columns:
        if names.count(column) != 1:
            raise FlapSamError(
                f"{path} has the columns {', '.join(map(repr, names)) or 'none'} in its first line, expected "
                f"{', '.join(columns)} once each, divided by commas, semicolons or tabs; correct that line."
            )
    rows = [
        (start + number, {column: _value(row, names.index(column)) for column in columns})
        for number, row in enumerate(table[1:], start=2)
        if any(value.strip() for value in row)
    ]
    if not rows:
        raise FlapSamError(f"{path} lists no {columns[0]}, expected a line each below {', '.join(columns)}; fill it.")
    return rows


def read_text(path: Path) -> str:
    """A text in UTF-8 with or without a mark at its start, or in UTF-16 with one; raises OSError, ValueError."""
    content = path.read_bytes()
    return content.decode("utf-16" if content.startswith(UTF16) else "utf-8-sig")


def _dialect(lines: list[str]) -> tuple[int, str]:
    """Where the table starts, and what divides its values: what the first line has most of."""
    if lines and lines[0].lower().startswith(TOLD):
        return 1, lines[0][len(TOLD) :].strip(" ") or "\t"
    return 0, max(DELIMITERS, key=lines[0].count) if lines else DELIMITERS[0]


def _value(row: list[str], place: int) -> str:
    return row[place].strip() if place < len(row) else ""


def _is_right(values: dict[str, str], case: str) -> bool:
    names = (values[case], values.get("site", "any"))
    return all(values.values()) and all(map(is_name, names)) and values["split"] in TABLE_SPLITS
