# SPDX-License-Identifier: Apache-2.0
"""The strings that are signed: as the page writes them, begun with a zero byte, and another for anything else."""

import hashlib
from dataclasses import fields, replace

import pytest
from flap_sam.secure import strings
from flap_sam.secure.strings import Card, Exchange, PublicKeys

EXCHANGE = Exchange(b"e" * 32, "run", "job", 7, "update", b"b" * 32, b"q" * 32)
KEYS = PublicKeys(b"1" * 32, b"2" * 32, b"3" * 32)
V = b"v" * 32


def f(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


X = f(b"e" * 32) + f(b"run") + f(b"job") + bytes(7) + b"\7" + f(b"update") + f(b"b" * 32) + f(b"q" * 32)
D = b"\0flap-sam secure aggregation 1"


def test_the_strings_are_those_of_the_page():
    assert EXCHANGE.encoded == X
    public = f(b"1" * 32) + f(b"2" * 32) + f(b"3" * 32)
    assert strings.keys_string(EXCHANGE, "ä", KEYS) == D + f(b"keys") + X + f("ä".encode()) + public
    assert strings.masked_string(EXCHANGE, "a", V) == D + f(b"masked") + X + f(b"a") + f(V)
    names = b"\0\0\0\2" + f(b"a") + f(b"b")
    assert strings.list_string(EXCHANGE, "a", V, ["a", "b"]) == D + f(b"list") + X + f(b"a") + f(V) + names
    cards = [Card("a", b"DER", KEYS), Card("b", b"", KEYS)]
    encoded = b"\0\0\0\2" + f(b"a") + f(hashlib.sha256(b"DER").digest()) + public + f(b"b") + f(bytes(32)) + public
    assert strings.roster(EXCHANGE, cards) == hashlib.sha256(f(b"roster") + X + encoded).digest()
    assert strings.view(V, ["a", "b"]) == hashlib.sha256(f(b"view") + f(V) + names).digest()


OTHERS = {"experiment": b"x" * 32, "round": 8, "exchange": "sketch-y", "base": b"x" * 32, "question": b"x" * 32}


@pytest.mark.parametrize("field", [field.name for field in fields(Exchange)])
def test_another_exchange_has_other_strings_throughout(field):
    other = replace(EXCHANGE, **{field: OTHERS.get(field, "other")})
    for of in (
        lambda exchange: strings.keys_string(exchange, "a", KEYS),
        lambda exchange: strings.masked_string(exchange, "a", V),
        lambda exchange: strings.list_string(exchange, "a", V, ["a"]),
        lambda exchange: strings.roster(exchange, [Card("a", b"", KEYS)]),
    ):
        assert of(EXCHANGE) != of(other)


def test_no_two_texts_are_framed_alike():
    assert strings.framed(b"ab", b"c") != strings.framed(b"a", b"bc") != strings.framed(b"abc")
