# SPDX-License-Identifier: Apache-2.0
"""Lines of the audit log that another party can bring about as often as it likes: few are written, all are counted."""

from collections.abc import Mapping

MOST = 100

Entry = Mapping[str, object]


class Flood:
    """Tells which of such lines are written: the first `MOST` of a process, then the 1000th, the 10000th and so on."""

    def __init__(self) -> None:
        self._number = 0

    def due(self, entry: Entry) -> Entry | None:
        """The line, behind the first ones with its number; None where it is not written."""
        self._number += 1
        if self._number <= MOST:
            return entry
        return {**entry, "number": self._number} if is_power_of_ten(self._number) else None


def is_power_of_ten(number: int) -> bool:
    """Whether a number is 1, 10, 100 and so on."""
    return str(number).rstrip("0") == "1"
