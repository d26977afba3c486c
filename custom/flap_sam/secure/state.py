# SPDX-License-Identifier: Apache-2.0
"""What a site keeps on its disk between its masked vector and the end of an exchange: no secret of its own."""

from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from pydantic import Field

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.files import replacing, writing
from flap_sam.foundation.strict import Count, StrictModel, parse
from flap_sam.secure.memory import OLDEST, RunMemory
from flap_sam.secure.messages import Bytes16, Bytes32, Name, Names, RosterEntry, Step
from flap_sam.secure.strings import Exchange

FOLDER = "masking"


class HeldShares(StrictModel):
    """A site's shares of the seeds of one site of U2; None where that site's box did not open."""

    site: Name
    m: Bytes16 | None
    b: Bytes16 | None


class Saved(StrictModel):
    """An exchange after the site's masked vector.

    Args:
        exchange and what follows: see `strings.Exchange`.
        opened: when, in seconds.
        number, step: as in the ledger.
        roster: the sites that have keys, U1, as they came.
        view: V.
        shares: of the sites between which the site has made masks, U2.
        survivors: the list that the site signed, U3; None before.
    """

    experiment: Bytes32
    run: str
    job: str
    round: Count
    exchange: str
    base: Bytes32
    question: Bytes32
    opened: float
    number: str
    step: Step
    roster: Annotated[tuple[RosterEntry, ...], Field(min_length=1)]
    view: Bytes32
    shares: tuple[HeldShares, ...]
    survivors: Names | None = None

    @property
    def masked(self) -> tuple[str, ...]:
        """U2."""
        return tuple(held.site for held in self.shares)

    @property
    def of(self) -> Exchange:
        return Exchange(**{field.name: getattr(self, field.name) for field in fields(Exchange)})


@dataclass(frozen=True)
class Store:
    """The states of a site's runs, a file each that only this user may read.

    Args:
        folder: `masking` in the gate's folder.
    """

    folder: Path

    def write(self, saved: Saved) -> None:
        """Keep a state; on return it is on the disk.

        Raises:
            FlapSamError: it cannot be written.
        """
        try:
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replacing(self._file(saved.run), private=True) as stream:
                stream.write(saved.to_json().encode())
        except FlapSamError as error:
            raise FlapSamError(str(error), Reason.STATE) from error

    def read(self, run: str, memory: RunMemory) -> Saved | None:
        """A run's state; None where it is lost, damaged, or not the one that the ledger tells of."""
        try:
            saved = parse(Saved, self._file(run).read_bytes())
        except (OSError, ValueError):
            return None
        return saved if (saved.run, saved.number, saved.step) == (run, memory.number, memory.step) else None

    def remove(self, run: str) -> None:
        """Remove a run's state, if there is one."""
        self._file(run).unlink(missing_ok=True)

    def remove_old(self, now: float) -> None:
        """Remove all that was opened more than three hours ago or in the future, or cannot be read."""
        for file in self.folder.glob("*.json*"):  # a killed writer's `.partial` too
            opened = None
            with suppress(OSError, ValueError):
                opened = parse(Saved, file.read_bytes()).opened
            if opened is None or not now - OLDEST <= opened <= now:
                file.unlink(missing_ok=True)

    def _file(self, run: str) -> Path:
        return self.folder / f"{run}.json"
