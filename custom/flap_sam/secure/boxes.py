# SPDX-License-Identifier: Apache-2.0
"""Shares on their way from site to site, through a server that cannot read them: ChaCha20-Poly1305."""

import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from flap_sam.secure.keys import SEED, box_key
from flap_sam.secure.strings import framed

NONCE = 12
TAG = 16
SIZE = NONCE + 2 * SEED + TAG


@dataclass(frozen=True)
class Shares:
    """One site's shares of another's seeds m and b."""

    m: bytes = field(repr=False)
    b: bytes = field(repr=False)


def sealed(shares: Shares, e: bytes, peer: bytes, roster: bytes, sender: str, receiver: str) -> bytes:
    """The box from one site to another, 60 bytes.

    Args:
        e: the sender's private key; peer: the receiver's share key.
    """
    nonce = os.urandom(NONCE)
    cipher = ChaCha20Poly1305(box_key(e, peer, roster, sender, receiver))
    return nonce + cipher.encrypt(nonce, shares.m + shares.b, _bound_to(roster, sender, receiver))


def opened(box: bytes, e: bytes, peer: bytes, roster: bytes, sender: str, receiver: str) -> Shares | None:
    """What is in a box; None where it does not open.

    Args:
        e: the receiver's private key; peer: the sender's share key.
    """
    cipher = ChaCha20Poly1305(box_key(e, peer, roster, sender, receiver))
    try:
        found = cipher.decrypt(box[:NONCE], box[NONCE:], _bound_to(roster, sender, receiver))
    except InvalidTag:
        return None
    return Shares(found[:SEED], found[SEED:])


def _bound_to(roster: bytes, sender: str, receiver: str) -> bytes:
    return roster + framed(sender.encode(), receiver.encode())
