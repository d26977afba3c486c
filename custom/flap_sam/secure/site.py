# SPDX-License-Identifier: Apache-2.0
"""A site's side of secure sums: one open exchange a run, five steps, each checked whole before anything changes.

Bonawitz et al. 2017, figure 4, with signatures and the consistency check against a server that does not keep to the
protocol. Ours: the pinned certificates, a signature over the sites of the masks, the base and the question in what is
signed, and one list for each base and round.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure import boxes, checks, masks, shamir, strings
from flap_sam.secure.certificates import Trust, verifiers
from flap_sam.secure.held import Held, Kind, Opened, Shared
from flap_sam.secure.keys import Secrets, check_points
from flap_sam.secure.memory import Book, Memory, RunMemory, out_of_step
from flap_sam.secure.messages import (
    CONSISTENCY,
    KEYS,
    MASKED,
    MASKED_TENSOR,
    SHARES,
    UNMASK,
    ConsistencyAnswer,
    ConsistencyTask,
    KeysAnswer,
    KeysTask,
    MaskedAnswer,
    MaskedTask,
    Message,
    RosterEntry,
    SharesAnswer,
    SharesTask,
    SiteBox,
    SiteShare,
    SiteSignature,
    Step,
    UnmaskAnswer,
    UnmaskTask,
    read,
    written,
)
from flap_sam.secure.signatures import Identity
from flap_sam.secure.state import HeldShares, Saved, Store
from flap_sam.secure.strings import Exchange
from flap_sam.secure.terms import Asked
from flap_sam.wire.digest import digest


class SecureSite:
    """A site's part in secure sums.

    Args:
        name: of the site.
        identity: signs for it.
        trust: whose certificates are accepted.
        folder: `masking` in the gate's folder.
        clock: seconds.
    """

    def __init__(
        self, name: str, identity: Identity, trust: Trust, folder: Path, clock: Callable[[], float] = time.time
    ) -> None:
        self.name, self._identity, self._trust, self._clock = name, identity, trust, clock
        self._store = Store(folder)
        self._held: dict[str, Held] = {}
        self._open: dict[str, Opened | Shared] = {}

    def hold(self, held: Held) -> None:
        """Hold an update until its exchanges; what was left of an earlier round of its run is erased."""
        self.forget(held.run)
        self._held[held.run] = held

    def forget(self, run: str) -> None:
        """Erase all that is held of a run."""
        self._held.pop(run, None)
        self._erase(run)

    def tidy(self) -> None:
        """Erase the states of exchanges that are over, as of jobs that have died."""
        self._store.remove_old(self._clock())

    def answer(self, step: str, asked: Asked, message: Message, book: Book) -> Message:
        """The answer to a step.

        Raises:
            FlapSamError: the message is not what the step may bring; nothing has changed then, but that an exchange
                whose state is lost, or which is over, is erased.
        """
        steps = {
            KEYS: self._keys,
            SHARES: self._shares,
            MASKED: self._masked,
            CONSISTENCY: self._consistency,
            UNMASK: self._unmask,
        }
        if step not in steps:
            raise FlapSamError(f"The step is {step!r}; expected one of {', '.join(steps)}.", Reason.TASK)
        if step != KEYS and message.tensors:
            raise FlapSamError(f"The step {step} comes with tensors; expected none.", Reason.TASK)
        return steps[step](asked, message, book)

    def _keys(self, asked: Asked, message: Message, book: Book) -> Message:
        task, memory, now = read(KeysTask, message, Reason.TASK), book.read(), self._clock()
        held = self._held.get(asked.run)
        if held is None or held.round != asked.round or task.exchange not in held.questions:
            raise FlapSamError(
                f"The site holds no update of round {asked.round} for the exchange {task.exchange}.", Reason.STEP
            )
        checks.check_question(message.tensors, held.questions[task.exchange])
        self._check_asked(asked, task.sites)
        memory.check_opens(asked, task.exchange, task.sites)
        asked_with = {name: tensor.clone() for name, tensor in message.tensors.items()}
        exchange = Exchange(
            *(asked.terms.experiment, asked.run, asked.job, asked.round, task.exchange, held.base),
            bytes.fromhex(digest(asked_with)),
        )
        secrets, number = Secrets.draw(), os.urandom(16).hex()
        public = secrets.public
        answer = KeysAnswer(
            exchange=task.exchange,
            base=held.base,
            certificate=self._identity.certificate,
            share_key=public.share_key,
            mask_key=public.mask_key,
            commitment=public.commitment,
            signature=self._identity.sign(strings.keys_string(exchange, self.name, public)),
        )
        self._erase(asked.run)
        book.write(memory.opens(asked, task.exchange, number, now), is_released=False)
        self._open[asked.run] = Opened(exchange, number, task.sites, secrets, answer, asked_with)
        return written(answer)

    def _check_asked(self, asked: Asked, sites: tuple[str, ...]) -> None:
        if not (set(sites) <= asked.terms.caps.keys() and self.name in sites):
            raise FlapSamError("The sites asked are not the experiment's, or this one is not among them.", Reason.LIST)
        checks.check_count(len(sites), asked.terms.least_sites)

    def _shares(self, asked: Asked, message: Message, book: Book) -> Message:
        task, memory, now = read(SharesTask, message, Reason.TASK), book.read(), self._clock()
        opened = self._in_memory(Opened, asked, memory, task.exchange, SHARES, now)
        roster = {entry.site: entry for entry in task.roster}
        if not (roster.keys() <= set(opened.sites) and self.name in roster):
            raise FlapSamError("The roster has sites that were not asked, or lacks this one.", Reason.LIST)
        checks.check_count(len(roster), asked.terms.least_sites)
        sent = opened.answer.model_dump(exclude={"exchange", "base"})
        if roster[self.name].model_dump(exclude={"site"}) != sent:
            raise FlapSamError("The roster has other keys of this site than it gave.", Reason.PEERS)
        known = verifiers(self._trust, {site: entry.certificate for site, entry in roster.items()})
        for site, entry in roster.items():
            known[site].verify(entry.signature, strings.keys_string(opened.exchange, site, entry.keys))
        checks.check_distinct([entry.keys for entry in task.roster])
        check_points(entry.keys for entry in task.roster)
        found = strings.roster(opened.exchange, [entry.card for entry in task.roster])
        secrets, threshold = opened.secrets, asked.terms.threshold(len(roster))
        pieces = zip(*(shamir.split(seed, threshold, len(roster)) for seed in (secrets.m, secrets.b)), strict=True)
        shares = {site: boxes.Shares(*piece) for site, piece in zip(roster, pieces, strict=True)}
        sealed = [
            SiteBox(
                site=site,
                box=boxes.sealed(shares[site], secrets.e, roster[site].share_key, found, self.name, site),
            )
            for site in roster
            if site != self.name
        ]
        book.write(memory.reaches(asked, SHARES, now), is_released=False)
        self._open[asked.run] = Shared(opened, task.roster, found, shares[self.name])
        return written(SharesAnswer(exchange=task.exchange, boxes=tuple(sealed)))

    def _masked(self, asked: Asked, message: Message, book: Book) -> Message:
        task, memory, now = read(MaskedTask, message, Reason.TASK), book.read(), self._clock()
        shared = self._in_memory(Shared, asked, memory, task.exchange, MASKED, now)
        roster = {entry.site: entry for entry in shared.roster}
        found = {entry.site: entry.box for entry in task.boxes}
        if not found.keys() <= roster.keys() - {self.name}:
            raise FlapSamError("Boxes come from this site, or from sites that are not in the roster.", Reason.LIST)
        partners = tuple(sorted({*found, self.name}))
        checks.check_count(len(partners), asked.terms.fewest(len(roster)))
        opened, held = shared.opened, self._held[asked.run]
        shares = tuple(self._received(shared, roster[site], found.get(site)) for site in partners)
        view = strings.view(shared.digest, partners)
        vector = held.vector(task.exchange, opened.asked_with).copy()
        public = {site: roster[site].mask_key for site in partners}
        masks.hide(vector, self.name, opened.secrets, public, shared.digest, view)
        signature = self._identity.sign(strings.masked_string(opened.exchange, self.name, view))
        saved = Saved(
            **vars(opened.exchange),
            opened=memory.runs[asked.run].opened,
            number=opened.number,
            step=MASKED,
            roster=shared.roster,
            view=view,
            shares=shares,
        )
        del self._open[asked.run]
        if task.exchange == list(held.questions)[-1]:
            del self._held[asked.run]
        book.write(memory.reaches(asked, MASKED, now, is_released=True), is_released=True)
        self._store.write(saved)
        tensor = torch.from_numpy(vector.view(np.int32))
        return written(MaskedAnswer(exchange=task.exchange, signature=signature), {MASKED_TENSOR: tensor})

    def _received(self, shared: Shared, of: RosterEntry, box: bytes | None) -> HeldShares:
        """The shares that came in a site's box, none where it does not open; of this site itself, which has no box."""
        found: boxes.Shares | None = shared.own
        if box is not None:
            e = shared.opened.secrets.e
            found = boxes.opened(box, e, of.share_key, shared.digest, of.site, self.name)
        return HeldShares(site=of.site, m=found.m if found else None, b=found.b if found else None)

    def _consistency(self, asked: Asked, message: Message, book: Book) -> Message:
        task, memory, now = read(ConsistencyTask, message, Reason.TASK), book.read(), self._clock()
        saved = self._on_disk(asked, memory, task.exchange, CONSISTENCY, now)
        survivors = tuple(entry.site for entry in task.survivors)
        if not (set(survivors) <= set(saved.masked) and self.name in survivors):
            raise FlapSamError("The list has sites without masks, or lacks this one.", Reason.LIST)
        checks.check_count(len(survivors), asked.terms.fewest(len(saved.roster)))
        self._verify(saved, task.survivors, lambda site: strings.masked_string(saved.of, site, saved.view))
        remembered = memory.signs(asked, saved.base, survivors, now)
        signature = self._identity.sign(strings.list_string(saved.of, self.name, saved.view, survivors))
        book.write(remembered, is_released=False)
        self._store.write(saved.changed(step=CONSISTENCY, survivors=survivors))
        return written(ConsistencyAnswer(exchange=task.exchange, signature=signature))

    def _unmask(self, asked: Asked, message: Message, book: Book) -> Message:
        task, memory, now = read(UnmaskTask, message, Reason.TASK), book.read(), self._clock()
        saved = self._on_disk(asked, memory, task.exchange, UNMASK, now)
        survivors = saved.survivors or ()
        if not {entry.site for entry in task.signatures} <= set(survivors):
            raise FlapSamError("A site has signed that is not in the list itself.", Reason.LIST)
        checks.check_count(len(task.signatures), asked.terms.threshold(len(saved.roster)))
        self._verify(saved, task.signatures, lambda site: strings.list_string(saved.of, site, saved.view, survivors))
        shares = [
            SiteShare(site=held.site, share=held.b if held.site in survivors else held.m) for held in saved.shares
        ]
        book.write(memory.reaches(asked, UNMASK, now), is_released=False)
        self._erase(asked.run)
        return written(UnmaskAnswer(exchange=task.exchange, shares=tuple(shares)))

    def _verify(self, saved: Saved, signed: tuple[SiteSignature, ...], text: Callable[[str], bytes]) -> None:
        certificates = {entry.site: entry.certificate for entry in saved.roster}
        known = verifiers(self._trust, {entry.site: certificates[entry.site] for entry in signed})
        for entry in signed:
            known[entry.site].verify(entry.signature, text(entry.site))

    def _in_memory(self, kind: type[Kind], asked: Asked, memory: Memory, exchange: str, step: Step, now: float) -> Kind:
        """The open exchange as it is in memory."""
        run = self._current(asked, memory, exchange, step, now)
        found = self._open.get(asked.run)
        if not isinstance(found, kind) or found.number != run.number:
            raise self._lost(asked.run)
        return found

    def _on_disk(self, asked: Asked, memory: Memory, exchange: str, step: Step, now: float) -> Saved:
        """The open exchange as it is on the disk."""
        saved = self._store.read(asked.run, self._current(asked, memory, exchange, step, now))
        if saved is None:
            raise self._lost(asked.run)
        return saved

    def _current(self, asked: Asked, memory: Memory, exchange: str, step: Step, now: float) -> RunMemory:
        run = memory.at(asked, exchange, step)
        if run.is_over(now):
            self.forget(asked.run)
            raise out_of_step(f"The step {step} comes more than three hours late, or this clock has gone back")
        return run

    def _lost(self, run: str) -> FlapSamError:
        self.forget(run)
        return out_of_step(f"The state of run {run} is lost, or is not the one that the ledger tells of")

    def _erase(self, run: str) -> None:
        self._open.pop(run, None)
        self._store.remove(run)
