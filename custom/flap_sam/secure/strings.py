# SPDX-License-Identifier: Apache-2.0
"""The exact strings that are signed and hashed in an exchange."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

DOMAIN = b"\0flap-sam secure aggregation 1"
NO_CERTIFICATE = bytes(32)  # in a card of a simulation


@dataclass(frozen=True)
class PublicKeys:
    """A site's public keys of one exchange, 32 bytes each.

    Args:
        share_key: for the encryption of shares; mask_key: for the masks between two sites.
        commitment: to the seed of the own mask.
    """

    share_key: bytes
    mask_key: bytes
    commitment: bytes

    @property
    def fields(self) -> tuple[bytes, bytes, bytes]:
        return self.share_key, self.mask_key, self.commitment


@dataclass(frozen=True)
class Exchange:
    """One secure sum: what every signature of it covers, X.

    Args:
        experiment: SHA-256 of the job's experiment.
        exchange: update, sketch-y or sketch-z.
        base: digest of what updates are measured from; question: digest of the tensors that the server asks with.
    """

    experiment: bytes
    run: str
    job: str
    round: int
    exchange: str
    base: bytes
    question: bytes

    @property
    def encoded(self) -> bytes:
        named = framed(self.experiment, self.run.encode(), self.job.encode())
        return named + self.round.to_bytes(8, "big") + framed(self.exchange.encode(), self.base, self.question)


@dataclass(frozen=True)
class Card:
    """A site with its keys, as the roster hashes it.

    Args:
        certificate: DER; empty in a simulation.
    """

    site: str
    certificate: bytes
    keys: PublicKeys

    @property
    def encoded(self) -> bytes:
        known = hashlib.sha256(self.certificate).digest() if self.certificate else NO_CERTIFICATE
        return framed(self.site.encode(), known, *self.keys.fields)


def keys_string(exchange: Exchange, site: str, keys: PublicKeys) -> bytes:
    """What a site signs when it gives its public keys."""
    return DOMAIN + framed(b"keys") + exchange.encoded + framed(site.encode(), *keys.fields)


def roster(exchange: Exchange, cards: Sequence[Card]) -> bytes:
    """R: the digest of all sites that have keys, in the order of their names."""
    encoded = b"".join(card.encoded for card in cards)
    return hashlib.sha256(framed(b"roster") + exchange.encoded + _count(cards) + encoded).digest()


def view(roster: bytes, names: Sequence[str]) -> bytes:
    """V: the digest of the sites between which a site has made masks, in order."""
    return hashlib.sha256(framed(b"view", roster) + _names(names)).digest()


def masked_string(exchange: Exchange, site: str, view: bytes) -> bytes:
    """What a site signs with its masked vector."""
    return DOMAIN + framed(b"masked") + exchange.encoded + framed(site.encode(), view)


def list_string(exchange: Exchange, site: str, view: bytes, names: Sequence[str]) -> bytes:
    """What a site signs of the sites that are summed, in order."""
    return DOMAIN + framed(b"list") + exchange.encoded + framed(site.encode(), view) + _names(names)


def framed(*fields: bytes) -> bytes:
    """Each field after its length, four bytes big-endian: F on the page."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def _names(names: Sequence[str]) -> bytes:
    return _count(names) + framed(*(name.encode() for name in names))


def _count(counted: Sequence[object]) -> bytes:
    return len(counted).to_bytes(4, "big")
