# SPDX-License-Identifier: Apache-2.0
"""Tables for a person's spreadsheet, as CSV."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from flap_sam.foundation.files import replacing

Cell = str | int | float | None
FORMULA = tuple("=+-@\t\r\n'") + tuple("\uff1d\uff0b\uff0d\uff20")  # the last four: the same signs at full width
PLAIN = re.compile(r"[\w. -]+")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write a table as CSV in which no spreadsheet finds a formula: numbers as they are, None empty.

    A text that begins as a formula does, or with a ', gets a ' in front (OWASP, "CSV Injection"). A text that is more
    than letters, digits, blanks and .-_ stands in quotes, so that no separator of any spreadsheet cuts it.

    Raises:
        FlapSamError: the file cannot be written.
    """
    lines = [",".join(map(_written, row)) + "\r\n" for row in (columns, *rows)]
    with replacing(path, private=True) as stream:
        stream.write("".join(lines).encode(errors="backslashreplace"))


def _written(cell: Cell) -> str:
    if not isinstance(cell, str):
        return "" if cell is None else repr(cell)
    harmless = f"'{cell}" if cell.startswith(FORMULA) else cell
    return harmless if PLAIN.fullmatch(harmless) else '"' + harmless.replace('"', '""') + '"'
