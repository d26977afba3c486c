"""The tables that deal your own cases to sites."""

import csv
from pathlib import Path

from flap_sam.errors import FlapSamError
from flap_sam.names import is_name

COLUMNS = ("case", "site", "split")
SPLITS = ("train", "test")


def read_table(path: Path, columns: tuple[str, ...], delimiter: str = ",") -> list[dict[str, str]]:
    """Read a table whose first line names its columns; others than those asked for are left out.

    Args:
        columns: the first one names the case; "site" and "split" are checked where they are among them.

    Raises:
        FlapSamError: the file cannot be read or lists no case, or a line lacks a value, lists a case again, or has
            a case, site or split that is none.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, delimiter=delimiter))
    except (OSError, ValueError, csv.Error) as problem:
        raise FlapSamError(
            f"{path} cannot be read ({problem}), expected a table with the columns {', '.join(columns)}."
        ) from problem
    if not rows:
        raise FlapSamError(f"{path} lists no case, expected a line a case below {', '.join(columns)}; fill it.")
    seen: set[str] = set()
    for line, row in enumerate(rows, start=2):
        values = {column: row.get(column) for column in columns}
        case = values[columns[0]]
        if not _is_right(values, columns[0]) or case in seen:
            found = ", ".join(f"{column} {value!r}" for column, value in values.items())
            raise FlapSamError(
                f"{path} has in line {line} {found}; expected a case not listed before"
                f"{', a site name' if 'site' in columns else ''} and the split train or test; correct the line."
            )
        seen.add(case)
    return [{column: row[column] for column in columns} for row in rows]


def _is_right(values: dict[str, str | None], case: str) -> bool:
    names = (values[case], values.get("site", "any"))
    return all(values.values()) and all(map(is_name, names)) and values["split"] in SPLITS
