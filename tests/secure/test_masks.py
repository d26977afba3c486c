# SPDX-License-Identifier: Apache-2.0
"""Masks are ChaCha20's key stream, cancel between two sites, and leave no number as it was."""

import os

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from flap_sam.secure import masks
from flap_sam.secure.keys import Secrets

R, V = os.urandom(32), os.urandom(32)


@pytest.mark.parametrize("size", [1, 5, masks.CHUNK - 1, masks.CHUNK, masks.CHUNK + 1, 3 * masks.CHUNK + 7])
def test_a_mask_is_the_key_stream_in_little_endian_numbers_of_any_length(size):
    key = os.urandom(32)
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(4 * size))
    assert (masks.mask(key, size) == np.frombuffer(stream, "<u4")).all()


def test_the_stream_is_that_of_the_standard():
    """RFC 8439, appendix A.1, test vector 1: key, counter and nonce of zeros."""
    assert masks.mask(bytes(32), 2).tobytes().hex() == "76b8e0ada0f13d90"


def test_what_is_added_is_taken_away_again_and_wraps():
    vector = np.array([0, 2**32 - 1, 2**31], np.uint32)
    hidden, key = vector.copy(), os.urandom(32)
    masks.apply(hidden, [key], [])
    assert [int(n) for n in hidden] == [
        (int(x) + int(m)) % 2**32 for x, m in zip(vector, masks.mask(key, 3), strict=True)
    ]
    masks.apply(hidden, [], [key])
    assert (hidden == vector).all()


@pytest.mark.parametrize("n", [2, 3, 5])
def test_masks_between_sites_cancel_in_their_sum_and_own_masks_stay(n):
    names = [f"site-{number}" for number in range(n)]
    secrets = {name: Secrets.draw() for name in names}
    public = {name: secret.public.mask_key for name, secret in secrets.items()}
    total = np.zeros(100, np.uint32)
    for name in names:
        vector = np.full(100, 7, np.uint32)
        masks.hide(vector, name, secrets[name], public, R, V)
        assert (vector != 7).sum() > 90
        total += vector
    for secret in secrets.values():
        total -= masks.mask(masks.own_mask(secret.b, R), 100)
    assert (total == 7 * n).all()
