# SPDX-License-Identifier: Apache-2.0
"""The secrets that a site draws for one exchange, its public keys, and all keys that are derived from them.

Bonawitz et al. 2017 (https://eprint.iacr.org/2017/281), figure 4: two key pairs by Diffie-Hellman, one for the
encryption of shares and one for masks, and a seed of the site's own mask. Ours is that the mask's key pair comes from
a seed of 16 bytes, which is what can be shared, and that a commitment to the own mask's seed is public.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure.strings import PublicKeys, framed

SEED = 16
KEY = 32

MASK_KEY = b"flap-sam mask key 1"
COMMITMENT = b"flap-sam commitment 1"
OWN_MASK = b"flap-sam own mask 1"
PAIR_MASK = b"flap-sam pair mask 1"
BOX = b"flap-sam box 1"


@dataclass(frozen=True)
class Secrets:
    """What a site alone knows in one exchange, never shown in a text.

    Args:
        e: X25519 private key, for the encryption of shares.
        m: seed of the private key for masks; b: seed of the own mask.
    """

    e: bytes = field(repr=False)
    m: bytes = field(repr=False)
    b: bytes = field(repr=False)

    @classmethod
    def draw(cls) -> "Secrets":
        """Fresh secrets from the operating system; an exchange's are never used in another."""
        return cls(os.urandom(KEY), os.urandom(SEED), os.urandom(SEED))

    @property
    def public(self) -> PublicKeys:
        return PublicKeys(_public(self.e), mask_key(self.m), commitment(self.b))


def mask_key(m: bytes) -> bytes:
    """The public key of the seed m, with which a restored m is checked."""
    return _public(_derived(m, MASK_KEY))


def commitment(b: bytes) -> bytes:
    """What binds a site to its seed b, with which a restored b is checked."""
    return _derived(b, COMMITMENT)


def own_mask(b: bytes, roster: bytes) -> bytes:
    """The key of a site's own mask."""
    return _derived(b, OWN_MASK, roster)


def pair_mask(m: bytes, peer: bytes, view: bytes, names: tuple[str, str]) -> bytes:
    """The key of the mask between two sites, the same from either's seed m and the other's mask key."""
    first, second = sorted(names)
    return _derived(_agreed(_derived(m, MASK_KEY), peer), PAIR_MASK + framed(first.encode(), second.encode()), view)


def box_key(e: bytes, peer: bytes, roster: bytes, sender: str, receiver: str) -> bytes:
    """The key of the box from one site to another, the same from either's e and the other's share key."""
    return _derived(_agreed(e, peer), BOX + framed(sender.encode(), receiver.encode()), roster)


def check_points(public: Iterable[PublicKeys]) -> None:
    """Raise a FlapSamError where X25519 with a key gives zero, whatever the other key is: a point of low order."""
    any_key = os.urandom(KEY)
    for keys in public:
        _agreed(any_key, keys.share_key)
        _agreed(any_key, keys.mask_key)


def _agreed(private: bytes, public: bytes) -> bytes:
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise FlapSamError(
            f"X25519 with the key {public.hex()} gives zero; expected a site's public key.", Reason.PEERS
        ) from error


def _public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def _derived(secret: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), KEY, salt, info).derive(secret)
