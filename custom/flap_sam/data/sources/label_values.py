# SPDX-License-Identifier: Apache-2.0
"""What the numbers of your label maps stand for, so that nobody need write the maps anew.

DIR/labels.csv     columns value (a number in the maps), label (the number of its class; 0 is background)
"""

from pathlib import Path

from flap_sam.data.manifest import MOST_CLASSES as MOST
from flap_sam.data.sources.tables import rows_of
from flap_sam.errors import FlapSamError

FILE = "labels.csv"
COLUMNS = ("value", "label")


def label_values(folder: Path) -> dict[int, int] | None:
    """The class of every number that `labels.csv` lists; None where there is no such file.

    Raises:
        FlapSamError: it cannot be read, or has a line that is not as above or lists a number again.
    """
    path = folder / FILE
    if not path.exists():
        return None
    values: dict[int, int] = {}
    for line, row in rows_of(path, COLUMNS):
        try:
            value, label = (int(row[column]) for column in COLUMNS)
        except ValueError:
            value, label = 0, -1
        if not 0 <= label <= MOST or value in values:
            raise FlapSamError(
                f"{path} has in line {line} value {row['value']!r}, label {row['label']!r}; expected a whole number "
                f"not listed before and a class from 0 to {MOST}; correct the line."
            )
        values[value] = label
    return values
