# SPDX-License-Identifier: Apache-2.0
"""What a site remembers of its secure sums for ever: steps answered, rounds released, lists signed. Kept by the gate.

It is a value that the gate's ledger holds as one of its fields. It is on the disk before an answer leaves.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol

from pydantic import Field

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.strict import Count, StrictModel
from flap_sam.secure.messages import CONSISTENCY, KEYS, STEPS, Names, Step
from flap_sam.secure.strings import framed
from flap_sam.secure.terms import SKETCH_Y, SKETCH_Z, Asked, Terms

OLDEST = 3 * 3600
"""Seconds after which an exchange is over, by the site's own clock."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class RunMemory(StrictModel):
    """The last exchange of a run.

    Args:
        experiment: SHA-256 of the job's.
        exchanges: all that were opened in this round, the last one last.
        number: drawn when it was opened; the state on the disk has the same.
        step: the last that was answered.
        opened, seen: when it was opened and last answered, in seconds.
        signed: the list that the site signed in this round; None before.
        released: the last round of which a masked vector left; None before there is one.
    """

    experiment: Sha256
    job: str
    round: Count
    exchanges: tuple[str, ...]
    number: str
    step: Step
    opened: float
    seen: float
    signed: Names | None = None
    released: Count | None = None

    @property
    def exchange(self) -> str:
        return self.exchanges[-1]

    def is_over(self, now: float) -> bool:
        """Whether it was opened more than three hours ago, or the clock has gone back since the last step."""
        return now < self.seen or now > self.opened + OLDEST


class SignedList(StrictModel):
    """The one list that a site signs for a base and a round's number, over all runs, jobs and experiments.

    Args:
        caps: SHA-256 of the experiment's caps.
    """

    base: Sha256
    round: Count
    sites: Names
    caps: Sha256


class Memory(StrictModel):
    """What a site remembers of secure sums.

    Args:
        runs: by name.
        lists: in the order in which they were signed.
    """

    runs: Mapping[str, RunMemory] = {}
    lists: tuple[SignedList, ...] = ()

    def check_opens(self, asked: Asked, exchange: str, sites: Sequence[str]) -> None:
        """Refuse an exchange of a round that is over or was opened before, by whatever job; and sketch-z over others.

        Raises:
            FlapSamError: see above.
        """
        run = self.runs.get(asked.run)
        is_same_round = run is not None and run.round == asked.round
        if run and (run.round > asked.round or (is_same_round and exchange in run.exchanges)):
            raise out_of_step(f"The exchange {exchange} of round {asked.round} was opened before, or is over")
        if exchange != SKETCH_Z:
            return
        if not (run and is_same_round and run.job == asked.job and run.exchange == SKETCH_Y and run.signed):
            raise out_of_step(f"{SKETCH_Z} is asked for; expected {SKETCH_Y} of the same round before")
        if run.signed != tuple(sites):
            raise FlapSamError(f"{SKETCH_Z} is asked of other sites than {SKETCH_Y} was summed over.", Reason.LIST)

    def opens(self, asked: Asked, exchange: str, number: str, now: float) -> "Memory":
        """The memory once an exchange has been opened."""
        run = self.runs.get(asked.run)
        is_same_round = run is not None and run.round == asked.round
        opened = RunMemory(
            experiment=asked.terms.experiment.hex(),
            job=asked.job,
            round=asked.round,
            exchanges=(*(run.exchanges if run and is_same_round else ()), exchange),
            number=number,
            step=KEYS,
            opened=now,
            seen=now,
            signed=run.signed if run and is_same_round else None,
            released=run.released if run else None,
        )
        return self._with(asked.run, opened)

    def at(self, asked: Asked, exchange: str, step: Step) -> RunMemory:
        """The run's open exchange, which a step is the next one of.

        Raises:
            FlapSamError: it is none, of another job, round or exchange, or at another step.
        """
        run = self.runs.get(asked.run)
        expected = (asked.terms.experiment.hex(), asked.job, asked.round, exchange)
        if run is None or (run.experiment, run.job, run.round, run.exchange) != expected:
            raise out_of_step(f"The step {step} is of an exchange that is not open here")
        if STEPS.index(step) != STEPS.index(run.step) + 1:
            raise out_of_step(f"The step {step} follows {run.step}, which is answered once and in order")
        return run

    def reaches(self, asked: Asked, step: Step, now: float, is_released: bool = False) -> "Memory":
        """The memory once a step has been answered."""
        released = {"released": asked.round} if is_released else {}
        run = self.runs[asked.run].model_copy(update={"step": step, "seen": now, **released})
        return self._with(asked.run, run)

    def signs(self, asked: Asked, base: bytes, sites: tuple[str, ...], now: float) -> "Memory":
        """The memory once a list has been signed: one list for each base and round's number, with one set of caps.

        Raises:
            FlapSamError: another list was signed for them, or the same with other caps.
        """
        signed = SignedList(base=base.hex(), round=asked.round, sites=sites, caps=_caps(asked.terms))
        before = next((kept for kept in self.lists if (kept.base, kept.round) == (signed.base, signed.round)), None)
        if before not in (None, signed):
            raise FlapSamError(
                f"Another list of sites, or other caps, were signed for round {asked.round} from this payload; their "
                "sums would differ by single sites. Go on with the next round, or with another seed.",
                Reason.LIST,
            )
        run = self.runs[asked.run].model_copy(update={"step": CONSISTENCY, "seen": now, "signed": sites})
        lists = self.lists if before else (*self.lists, signed)
        return self._with(asked.run, run).model_copy(update={"lists": lists})

    def _with(self, name: str, run: RunMemory) -> "Memory":
        return self.model_copy(update={"runs": {**self.runs, name: run}})


class Book(Protocol):
    """Where the gate keeps the memory. Nobody else reads or writes it while a step is answered."""

    def read(self) -> Memory: ...

    def write(self, memory: Memory, is_released: bool) -> None:
        """Keep the memory; on return it is on the disk.

        Args:
            is_released: with this a masked vector leaves. What else is counted of a release belongs into the same
                writing.
        """
        ...


def _caps(terms: Terms) -> str:
    caps = (part for site, cap in sorted(terms.caps.items()) for part in (site.encode(), cap.to_bytes(8, "big")))
    return hashlib.sha256(framed(*caps)).hexdigest()


def out_of_step(found: str) -> FlapSamError:
    """The refusal of a step that is not the next one of an open exchange."""
    return FlapSamError(f"{found}; the site is out of this exchange.", Reason.STEP)
