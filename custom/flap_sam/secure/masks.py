# SPDX-License-Identifier: Apache-2.0
"""Masks on vectors of whole numbers modulo 2^32: the key stream of ChaCha20, added or taken away."""

from collections.abc import Iterable, Mapping

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from flap_sam.secure.keys import Secrets, own_mask, pair_mask

CHUNK = 2**16  # numbers at a time, which stay in the processor's cache
NUMBER = 4  # bytes
FIRST = bytes(16)  # counter and nonce; a key is used once

Vector = NDArray[np.uint32]


def apply(vector: Vector, added: Iterable[bytes], taken: Iterable[bytes]) -> None:
    """Add to a vector the masks of some keys, and take away those of others, in place."""
    for key in added:
        for part, mask in _parts(vector, key):
            part += mask
    for key in taken:
        for part, mask in _parts(vector, key):
            part -= mask


def hide(
    vector: Vector, site: str, secrets: Secrets, mask_keys: Mapping[str, bytes], roster: bytes, view: bytes
) -> None:
    """Mask a site's vector in place.

        y_u = x_u + PRG(own mask of u) + sum over v > u of PRG(mask of u and v) - sum over v < u of the same

    Args:
        mask_keys: of the sites with which it has masks, U2, by name; its own is among them and is not used.
    """
    added = [own_mask(secrets.b, roster)]
    taken: list[bytes] = []
    for peer, key in mask_keys.items():
        if peer != site:
            (added if peer > site else taken).append(pair_mask(secrets.m, key, view, (site, peer)))
    apply(vector, added, taken)


def mask(key: bytes, size: int) -> Vector:
    """The mask of a key: PRG(key), its first `size` numbers."""
    made = np.zeros(size, np.uint32)
    apply(made, [key], [])
    return made


def _parts(vector: Vector, key: bytes) -> Iterable[tuple[Vector, Vector]]:
    """A vector in parts, each with the mask's numbers for it, which the next part overwrites."""
    stream = Cipher(ChaCha20(key, FIRST), mode=None).encryptor()
    zeros, buffer = bytes(CHUNK * NUMBER), bytearray(CHUNK * NUMBER)
    numbers = np.frombuffer(buffer, "<u4")
    for start in range(0, vector.size, CHUNK):
        part = vector[start : start + CHUNK]
        stream.update_into(memoryview(zeros)[: part.nbytes], memoryview(buffer)[: part.nbytes])
        yield part, numbers[: part.size]
