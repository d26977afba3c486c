# SPDX-License-Identifier: Apache-2.0
"""What was refused at the door, in the site's audit log: all of it counted, few lines of it whatever is sent."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flap_sam.gate.flood import is_power_of_ten
from flap_sam.wire.messages import clean_reason

HOUR = 3600.0
MOST_KINDS = 50
OTHERS = {"refused": "further messages of other kinds than those listed in the last hour"}
LONGEST = 80

Entry = Mapping[str, object]
Kind = tuple[tuple[str, object], ...]


@dataclass
class _Kind:
    """How often messages of a kind were refused in this hour, and how many of them the last line about it told."""

    number: int = 0
    told: int = 0


class Refusals:
    """Writes the first refusal of a kind, the 10th, the 100th and so on, and after an hour their number.

    A kind is who sent what and why it may not pass. The 51st of an hour and those after it count as one. So a flood
    leaves some hundred lines an hour. When a line cannot be written, `settle` raises until it can: the door lets
    nothing pass meanwhile.

    Args:
        write: appends an entry to the audit log, or raises.
        clock: seconds.
    """

    def __init__(self, write: Callable[[Entry], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._kinds: dict[Kind, _Kind] = {}
        self._since = clock()
        self._owed: list[Entry] = []
        self._lock = threading.Lock()

    def settle(self) -> None:
        """Write what could not be written when it happened.

        Raises:
            OSError: that is still so.
        """
        if self._owed:
            with self._lock:
                self._write_owed()

    def note(self, reason: str, **names: object) -> bool:
        """Count a refusal; returns whether it was written down.

        Args:
            names: who sent what, as the sender says: made printable and short here.

        Raises:
            OSError: it cannot be written down.
        """
        entry = {"refused": reason, **{key: printable(name) for key, name in names.items()}}
        with self._lock:
            if self._clock() - self._since >= HOUR:
                self._end_hour()
            known = tuple(entry.items()) in self._kinds
            kind = tuple((entry if known or len(self._kinds) < MOST_KINDS else OTHERS).items())
            counted = self._kinds.setdefault(kind, _Kind())
            counted.number += 1
            due = is_power_of_ten(counted.number)
            if due:
                self._tell(kind, counted)
            self._write_owed()
        return due

    def _end_hour(self) -> None:
        for kind, counted in self._kinds.items():
            if counted.number > counted.told:
                self._tell(kind, counted)
        self._kinds, self._since = {}, self._clock()

    def _tell(self, kind: Kind, counted: _Kind) -> None:
        counted.told = counted.number
        self._owed.append({"direction": "in", "door": "refused", **dict(kind), "number": counted.number})

    def _write_owed(self) -> None:
        while self._owed:
            self._write(self._owed[0])
            del self._owed[0]


def printable(found: object) -> str:
    """What a sender wrote, as one short line of plain characters."""
    return clean_reason(found)[:LONGEST]
