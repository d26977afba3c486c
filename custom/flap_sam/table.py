"""Tables for a person's spreadsheet, as CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from flap_sam.files import replacing

Cell = str | int | float | None
FORMULA = tuple("=+-@\t\r\n'") + tuple("\uff1d\uff0b\uff0d\uff20")  # the last four: the same signs at full width


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write a table as CSV in which no spreadsheet finds a formula: texts in quotes, numbers as they are, None empty.

    A text that begins as a formula does, or with a ', gets a ' in front (OWASP, "CSV Injection").

    Raises:
        FlapSamError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    for row in (columns, *rows):
        table.writerow([_harmless(cell) for cell in row])
    with replacing(path, private=True) as stream:
        stream.write(text.getvalue().encode(errors="backslashreplace"))


def _harmless(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
