# SPDX-License-Identifier: Apache-2.0
"""Keys are what the page writes down, the same from either side, and never those of another exchange or pair."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure import keys
from flap_sam.secure.keys import Secrets
from flap_sam.secure.strings import PublicKeys

A, B = Secrets.draw(), Secrets.draw()
R, V = b"r" * 32, b"v" * 32
LOW_ORDER = (
    bytes(32),
    (1).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
)
"""From Bernstein's list of points of small order on Curve25519 (https://cr.yp.to/ecdh.html)."""


def hkdf(secret: bytes, info: bytes, salt: bytes = bytes(32)) -> bytes:
    """RFC 5869 for 32 bytes, written from its text."""
    extracted = hmac.digest(salt, secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def x25519(private: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def framed(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def test_every_key_is_derived_as_the_page_says():
    mask_private = hkdf(A.m, b"flap-sam mask key 1")
    assert A.public.mask_key == X25519PrivateKey.from_private_bytes(mask_private).public_key().public_bytes_raw()
    assert A.public.share_key == X25519PrivateKey.from_private_bytes(A.e).public_key().public_bytes_raw()
    assert A.public.commitment == hkdf(A.b, b"flap-sam commitment 1")
    assert keys.own_mask(A.b, R) == hkdf(A.b, b"flap-sam own mask 1", R)
    info = b"flap-sam pair mask 1" + framed(b"a") + framed("ä".encode())
    expected = hkdf(x25519(mask_private, B.public.mask_key), info, V)
    assert keys.pair_mask(A.m, B.public.mask_key, V, ("ä", "a")) == expected
    info = b"flap-sam box 1" + framed(b"u") + framed(b"v")
    assert keys.box_key(A.e, B.public.share_key, R, "u", "v") == hkdf(x25519(A.e, B.public.share_key), info, R)


def test_two_sites_have_one_key_and_every_other_pair_exchange_or_direction_another():
    made = keys.pair_mask(A.m, B.public.mask_key, V, ("a", "b"))
    assert made == keys.pair_mask(B.m, A.public.mask_key, V, ("b", "a"))
    assert made != keys.pair_mask(A.m, B.public.mask_key, R, ("a", "b"))
    assert made != keys.pair_mask(A.m, B.public.mask_key, V, ("a", "c"))
    box = keys.box_key(A.e, B.public.share_key, R, "a", "b")
    assert box == keys.box_key(B.e, A.public.share_key, R, "a", "b")
    assert box != keys.box_key(A.e, B.public.share_key, R, "b", "a")


def test_secrets_are_fresh_and_are_not_shown():
    drawn = [Secrets.draw() for _ in range(20)]
    assert len({secret for s in drawn for secret in (s.e, s.m, s.b)}) == 60
    assert not any(secret.hex() in repr(A) or repr(secret) in repr(A) for secret in (A.e, A.m, A.b))


@pytest.mark.parametrize("point", LOW_ORDER, ids=bytes.hex)
@pytest.mark.parametrize("field", [0, 1])
def test_points_of_low_order_are_refused(point, field):
    fields = list(A.public.fields)
    fields[field] = point
    with pytest.raises(FlapSamError, match="gives zero") as refusal:
        keys.check_points([B.public, PublicKeys(*fields)])
    assert refusal.value.reason is Reason.PEERS
    keys.check_points([A.public, B.public])
