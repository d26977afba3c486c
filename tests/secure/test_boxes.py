# SPDX-License-Identifier: Apache-2.0
"""A box opens for its receiver, whole, in its own exchange, and for nothing else."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from flap_sam.secure.boxes import SIZE, Shares, opened, sealed
from flap_sam.secure.keys import Secrets, box_key

A, B, C = (Secrets.draw() for _ in range(3))
R = os.urandom(32)
SHARES = Shares(os.urandom(16), os.urandom(16))


def box() -> bytes:
    return sealed(SHARES, A.e, B.public.share_key, R, "a", "b")


def test_a_box_opens_for_its_receiver_and_is_another_each_time():
    assert opened(box(), B.e, A.public.share_key, R, "a", "b") == SHARES
    assert len(box()) == SIZE == 60
    assert box() != box()
    assert SHARES.m not in box()
    assert SHARES.m.hex() not in repr(SHARES)


def test_a_box_is_what_the_page_says():
    """Nonce, then m's and b's share encrypted with their tag, bound to R, F(from), F(to)."""
    made = box()
    bound = R + b"\0\0\0\1a" + b"\0\0\0\1b"
    cipher = ChaCha20Poly1305(box_key(A.e, B.public.share_key, R, "a", "b"))
    assert cipher.decrypt(made[:12], made[12:], bound) == SHARES.m + SHARES.b


@pytest.mark.parametrize("place", [0, 11, 12, 27, 28, 43, 44, 59])
def test_a_changed_box_does_not_open(place):
    changed = bytearray(box())
    changed[place] ^= 1
    assert opened(bytes(changed), B.e, A.public.share_key, R, "a", "b") is None


def test_a_box_of_another_exchange_direction_or_receiver_does_not_open():
    assert opened(box(), B.e, A.public.share_key, bytes(32), "a", "b") is None
    assert opened(box(), B.e, A.public.share_key, R, "b", "a") is None
    assert opened(box(), C.e, A.public.share_key, R, "a", "c") is None
    assert opened(box(), B.e, C.public.share_key, R, "c", "b") is None
