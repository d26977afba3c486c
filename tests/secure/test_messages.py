# SPDX-License-Identifier: Apache-2.0
"""Messages are read whole and strictly: exact lengths, lower-case hexadecimal, names in order."""

import json

import pytest
from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure import messages
from flap_sam.secure.messages import (
    ConsistencyTask,
    KeysAnswer,
    KeysTask,
    Message,
    SharesAnswer,
    SharesTask,
    SiteBox,
    UnmaskAnswer,
    read,
    written,
)

ANSWER = KeysAnswer(
    exchange="update",
    base=b"b" * 32,
    certificate=b"c" * 800,
    share_key=b"s" * 32,
    mask_key=b"m" * 32,
    commitment=b"o" * 32,
    signature=b"g" * 256,
)


def test_what_is_written_is_read_again():
    assert read(KeysAnswer, written(ANSWER), Reason.TASK) == ANSWER
    assert json.loads(written(ANSWER).text)["share_key"] == b"s".hex() * 32
    boxes = SharesAnswer(
        exchange="sketch-z", boxes=(SiteBox(site="a", box=bytes(60)), SiteBox(site="b", box=bytes(60)))
    )
    assert read(SharesAnswer, written(boxes), Reason.TASK) == boxes


def keys(**changes: object) -> tuple[type, object]:
    return KeysAnswer, json.loads(written(ANSWER).text) | changes


def task(sites: object) -> tuple[type, object]:
    return KeysTask, {"exchange": "update", "sites": sites}


SHARE = {"site": "a", "share": None}
BAD = {
    "too short": keys(share_key="00" * 31),
    "too long": keys(share_key="00" * 33),
    "upper case": keys(mask_key="AA" * 32),
    "half a byte": keys(mask_key="0" * 63),
    "blanks": keys(mask_key=" " * 64),
    "a line's end": keys(mask_key="00" * 32 + "\n"),
    "no text": keys(base=5),
    "null": keys(base=None),
    "a certificate too long": keys(certificate="00" * 4097),
    "a signature too short": keys(signature="00" * 255),
    "a signature too long": keys(signature="00" * 513),
    "another exchange": keys(exchange="sketch"),
    "too much": keys(more=1),
    "no list": task("a"),
    "out of order": task(["b", "a"]),
    "twice": task(["a", "a"]),
    "no name": task([""]),
    "a path": task(["../a"]),
    "a long name": task(["a" * 65]),
    "too many": task([f"{number:04}" for number in range(1001)]),
    "entries out of order": (UnmaskAnswer, {"exchange": "update", "shares": [SHARE | {"site": "b"}, SHARE]}),
    "an entry twice": (UnmaskAnswer, {"exchange": "update", "shares": [SHARE, SHARE]}),
    "a share too long": (UnmaskAnswer, {"exchange": "update", "shares": [SHARE | {"share": "00" * 17}]}),
    "a box too short": (SharesAnswer, {"exchange": "update", "boxes": [{"site": "a", "box": "00" * 59}]}),
    "a roster entry without keys": (SharesTask, {"exchange": "update", "roster": [{"site": "a"}]}),
    "missing": (ConsistencyTask, {"exchange": "update"}),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_not_exactly_a_message_is_refused(bad):
    kind, found = BAD[bad]
    with pytest.raises(FlapSamError, match="A message of a secure sum is refused") as refusal:
        read(kind, Message(json.dumps(found)), Reason.TASK)
    assert refusal.value.reason is Reason.TASK


@pytest.mark.parametrize("text", [None, b"{}", {"exchange": "update"}, " " * (messages.LONGEST + 1)])
def test_what_is_no_text_or_too_long_is_refused(text):
    with pytest.raises(FlapSamError, match="expected JSON of at most"):
        read(KeysTask, Message(text), Reason.RESULT)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"exchange": "update", "exchange": "update", "sites": []}', "[" * 10**5]
)
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(FlapSamError, match="is refused"):
        read(KeysTask, Message(text), Reason.RESULT)


def test_tensors_without_names_are_refused():
    with pytest.raises(FlapSamError, match="have no names"):
        read(KeysTask, Message("{}", [1.0]), Reason.RESULT)


def test_the_largest_roster_is_within_the_bound():
    entry = {name: len(value) for name, value in json.loads(written(ANSWER).text).items()}
    entry |= {"certificate": 2 * 4096, "signature": 2 * 512, "site": 64}
    assert 1000 * sum(entry.values()) * 1.1 < messages.LONGEST
