# SPDX-License-Identifier: Apache-2.0
"""The server's side of one secure sum: it asks, collects, checks, restores what is needed, and sums.

Bonawitz et al. 2017, figure 4. A site whose answer is refused is out of the exchange; a step with too few answers, or
a secret that cannot be restored, ends it without a sum.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure import checks, keys, masks, shamir, strings
from flap_sam.secure.certificates import Trust
from flap_sam.secure.messages import (
    CONSISTENCY,
    KEYS,
    MASKED,
    MASKED_TENSOR,
    SHARES,
    STEPS,
    UNMASK,
    ConsistencyAnswer,
    ConsistencyTask,
    KeysAnswer,
    KeysTask,
    MaskedAnswer,
    MaskedTask,
    Message,
    Part,
    RosterEntry,
    SharesAnswer,
    SharesTask,
    SiteBox,
    SiteSignature,
    UnmaskAnswer,
    UnmaskTask,
    read,
    written,
)
from flap_sam.secure.signatures import Verifier
from flap_sam.secure.strings import Exchange
from flap_sam.secure.terms import Asked
from flap_sam.wire.digest import digest

Vector = NDArray[np.uint32]

ANSWERS: dict[str, type[Part]] = {
    KEYS: KeysAnswer,
    SHARES: SharesAnswer,
    MASKED: MaskedAnswer,
    CONSISTENCY: ConsistencyAnswer,
    UNMASK: UnmaskAnswer,
}
OVER = "over"


class SecureSum:
    """One exchange, as the server conducts it.

    For each step: send `messages()`, give what comes back to `take`, then `close()` the step. `total` is there after
    the fifth.

    Args:
        asked: the sum that is asked for.
        exchange: update, sketch-y or sketch-z.
        sites: asked, those that have trained.
        fewest: sites that every step must have, the larger of least_sites and the run's min_sites.
        size: M, how many numbers a vector has.
        trust: whose certificates are accepted.
        question: the tensors that are asked with.

    Attributes:
        step: the one that is open, or `OVER`.
        sites: asked in this step, in order; after the third, the sites that are summed.
        survivors: U3, the sites that are summed, once they are known.
        total: the sum of their vectors, uint32; None before the end.
    """

    def __init__(
        self,
        asked: Asked,
        exchange: str,
        sites: Collection[str],
        fewest: int,
        size: int,
        trust: Trust,
        question: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._asked, self._exchange, self._fewest, self._size, self._trust = asked, exchange, fewest, size, trust
        self._question = dict(question or {})
        self._verifiers: dict[str, Verifier] = {}
        self._keys: dict[str, KeysAnswer] = {}
        self._boxes: dict[str, dict[str, bytes]] = {}
        self._sum = np.zeros(size, np.uint32)  # of the masked vectors, those of U3
        self._signed: dict[str, dict[str, bytes]] = {MASKED: {}, CONSISTENCY: {}}
        self._shares: dict[str, dict[str, bytes | None]] = {}
        self._masked: tuple[str, ...] = ()  # U2
        self._roster: list[RosterEntry] = []  # U1
        self.step: str = KEYS
        self.sites = tuple(sorted(sites))
        self.survivors: tuple[str, ...] = ()
        self.total: Vector | None = None

    @property
    def answered(self) -> tuple[str, ...]:
        """The sites whose answer to the open step has been accepted, in order."""
        found: Mapping[str, Mapping[str, object]] = {
            KEYS: self._keys,
            SHARES: self._boxes,
            MASKED: self._signed[MASKED],
            CONSISTENCY: self._signed[CONSISTENCY],
            UNMASK: self._shares,
        }
        return tuple(sorted(found[self.step])) if self.step in found else ()

    def messages(self) -> dict[str, Message]:
        """What each site is asked in the open step."""
        if self.step == MASKED:
            return {site: self._boxes_for(site) for site in self.sites}
        tensors = self._question if self.step == KEYS else {}
        return dict.fromkeys(self.sites, written(self._task(), tensors))

    def take(self, site: str, message: Message) -> None:
        """Take a site's answer to the open step.

        Raises:
            FlapSamError: the site has answered, is not asked, or its answer is refused; it counts as none.
        """
        if self.step == OVER or site not in self.sites or site in self.answered:
            raise FlapSamError(f"{site} answers out of turn in a secure sum.", Reason.STEP)
        answer = read(ANSWERS[self.step], message, Reason.RESULT)
        if answer.exchange != self._exchange:
            raise FlapSamError(f"{site} answers in the exchange {answer.exchange}.", Reason.STEP)
        if message.tensors.keys() != ({MASKED_TENSOR} if self.step == MASKED else set()):
            raise FlapSamError(f"{site} sends other tensors than the step {self.step} has.", Reason.RESULT)
        if isinstance(answer, KeysAnswer):
            self._take_keys(site, answer)
        elif isinstance(answer, SharesAnswer):
            found = {box.site: box.box for box in answer.boxes}
            _check_complete(site, found, set(self.sites) - {site})
            self._boxes[site] = found
        elif isinstance(answer, MaskedAnswer):
            vector = self._vector(site, message.tensors[MASKED_TENSOR])
            self._verifiers[site].verify(answer.signature, strings.masked_string(self._of, site, self._view))
            self._sum += vector
            self._signed[MASKED][site] = answer.signature
        elif isinstance(answer, ConsistencyAnswer):
            text = strings.list_string(self._of, site, self._view, self.survivors)
            self._verifiers[site].verify(answer.signature, text)
            self._signed[CONSISTENCY][site] = answer.signature
        elif isinstance(answer, UnmaskAnswer):
            shares = {share.site: share.share for share in answer.shares}
            _check_complete(site, shares, set(self._masked))
            self._shares[site] = shares

    def close(self) -> None:
        """Close the open step and open the next, for those who have answered.

        Raises:
            FlapSamError: there are too few, or a secret cannot be restored: the exchange ends without a sum.
        """
        step, names = self.step, self.answered
        self.step = OVER
        if step == KEYS:
            names = self._agreeing(names)
        fewest = self._fewest
        if step != KEYS:
            fewest = max(fewest, self._asked.terms.fewest(len(self._roster)))
        if len(names) < fewest:
            raise _no_sum(f"{len(names)} sites have answered the step {step}, expected {fewest} or more")
        self.sites = names
        if step == KEYS:
            self._of = self._exchange_from(self._keys[names[0]].base)
            self._roster = [self._entry(site) for site in names]
            self._digest = strings.roster(self._of, [entry.card for entry in self._roster])
        elif step == SHARES:
            self._masked, self._view = names, strings.view(self._digest, names)
        elif step == MASKED:
            self.survivors = names
        elif step == UNMASK:
            self.total = self._unmasked()
            return
        self.step = STEPS[STEPS.index(step) + 1]

    def _take_keys(self, site: str, answer: KeysAnswer) -> None:
        verifier = self._trust.verifier(site, answer.certificate)
        verifier.verify(answer.signature, strings.keys_string(self._exchange_from(answer.base), site, answer.keys))
        if verifier.public in {known.public for known in self._verifiers.values()}:
            raise FlapSamError(f"{site} has the public key of another site's certificate.", Reason.PEERS)
        checks.check_distinct([answer.keys, *(known.keys for known in self._keys.values())])
        keys.check_points([answer.keys])
        self._verifiers[site], self._keys[site] = verifier, answer

    def _agreeing(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The sites that measure their updates from what most of them do."""
        bases = Counter(self._keys[site].base for site in names)
        base, count = bases.most_common(1)[0] if bases else (b"", 0)
        if 2 * count <= len(names):
            raise _no_sum("there is no payload that most sites measure their updates from")
        return tuple(site for site in names if self._keys[site].base == base)

    def _exchange_from(self, base: bytes) -> Exchange:
        asked, asked_with = self._asked, bytes.fromhex(digest(self._question))
        return Exchange(asked.terms.experiment, asked.run, asked.job, asked.round, self._exchange, base, asked_with)

    def _entry(self, site: str) -> RosterEntry:
        return RosterEntry(site=site, **self._keys[site].model_dump(exclude={"exchange", "base"}))

    def _task(self) -> Part:
        name = self._exchange
        if self.step == KEYS:
            return KeysTask.model_validate({"exchange": name, "sites": self.sites})
        if self.step == SHARES:
            return SharesTask.model_validate({"exchange": name, "roster": tuple(self._roster)})
        signed = self._signed[MASKED if self.step == CONSISTENCY else CONSISTENCY]
        entries = tuple(SiteSignature(site=site, signature=signed[site]) for site in self.sites)
        if self.step == CONSISTENCY:
            return ConsistencyTask.model_validate({"exchange": name, "survivors": entries})
        return UnmaskTask.model_validate({"exchange": name, "signatures": entries})

    def _boxes_for(self, site: str) -> Message:
        found = tuple(SiteBox(site=peer, box=self._boxes[peer][site]) for peer in self.sites if peer != site)
        return written(MaskedTask.model_validate({"exchange": self._exchange, "boxes": found}))

    def _vector(self, site: str, found: Tensor) -> Vector:
        if not checks.is_plain(found, torch.int32, (self._size,)):
            raise FlapSamError(f"{site} sends no int32 vector of {self._size} numbers.", Reason.RESULT)
        return found.contiguous().numpy().view(np.uint32)

    def _unmasked(self) -> Vector:
        """The sum of the survivors' vectors, less their own masks and those that they have with the dropped."""
        total = self._sum
        for site in self.survivors:
            seed = self._restored(site, keys.commitment, self._keys[site].commitment)
            masks.apply(total, [], [keys.own_mask(seed, self._digest)])
        for site in sorted(set(self._masked) - set(self.survivors)):
            seed = self._restored(site, keys.mask_key, self._keys[site].mask_key)
            made = {
                peer: keys.pair_mask(seed, self._keys[peer].mask_key, self._view, (site, peer))
                for peer in self.survivors
            }
            masks.apply(
                total,
                added=[key for peer, key in made.items() if peer > site],  # the peer has taken it away
                taken=[key for peer, key in made.items() if peer < site],
            )
        return total

    def _restored(self, site: str, published_of: Callable[[bytes], bytes], published: bytes) -> bytes:
        """A site's seed, once it is found to be the one that the site has published something of."""
        places = {entry.site: place for place, entry in enumerate(self._roster, 1)}
        told = {places[peer]: shares[site] for peer, shares in self._shares.items()}
        shares = {place: share for place, share in told.items() if share is not None}
        threshold = self._asked.terms.threshold(len(self._roster))
        if len(shares) < threshold:
            raise _no_sum(f"there are {len(shares)} shares of a secret of {site}, expected {threshold}")
        seed = shamir.restore(shares, threshold)
        if published_of(seed) != published:
            raise _no_sum(f"what the shares of {site} restore is not what it has published; a share is wrong")
        return seed


def _check_complete(site: str, found: Mapping[str, object], expected: set[str]) -> None:
    if found.keys() != expected:
        raise FlapSamError(f"{site} answers for {len(found)} sites; expected {len(expected)}.", Reason.RESULT)


def _no_sum(found: str) -> FlapSamError:
    return FlapSamError(f"The exchange closes without a sum: {found}.", Reason.LIST)
