# SPDX-License-Identifier: Apache-2.0
"""What was refused is counted in few lines, and nothing is forgotten when a line cannot be written."""

import pytest
from flap_sam.federation.door.refusals import HOUR, MOST_KINDS, Refusals


class Log(list):
    full = False

    def write(self, entry) -> None:
        if self.full:
            raise OSError("No space left on device")
        self.append(entry)


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_flood_of_one_kind_leaves_few_lines(log):
    refusals = Refusals(log.write)
    for _ in range(12345):
        refusals.note("no", origin="hospital-b")
    assert [line["number"] for line in log] == [1, 10, 100, 1000, 10000]
    assert log[0] == {"direction": "in", "door": "refused", "refused": "no", "origin": "hospital-b", "number": 1}


def test_a_flood_of_many_kinds_leaves_few_lines(log):
    refusals = Refusals(log.write)
    for i in range(5000):
        refusals.note("no", topic=f"t{i}")
    assert len(log) == MOST_KINDS + len(["1", "10", "100", "1000"])
    assert "other kinds" in log[-1]["refused"]


def test_after_an_hour_all_are_counted_and_new_kinds_are_told(log):
    now = [0.0]
    refusals = Refusals(log.write, lambda: now[0])
    for i in range(5000):
        refusals.note("no", topic=f"t{i % (2 * MOST_KINDS)}")
    now[0] = HOUR
    refusals.note("no", topic="new")
    numbers = {tuple(sorted((k, v) for k, v in line.items() if k != "number")): line["number"] for line in log[:-1]}
    assert sum(numbers.values()) == 5000
    assert (log[-1]["topic"], log[-1]["number"]) == ("new", 1)


def test_a_senders_names_are_made_printable_and_short(log):
    Refusals(log.write).note("no", origin="a\n\x1b[31m{}é" + "x" * 10**6, topic={"job": ["\n"]}, channel=None)
    line = log[0]
    assert all(isinstance(text, str) and text.isprintable() and text.isascii() for text in map(str, line.values()))
    assert max(len(str(value)) for value in line.values()) <= 80


def test_what_could_not_be_written_is_written_later(log):
    refusals = Refusals(log.write)
    log.full = True
    for origin in ("a", "b"):
        with pytest.raises(OSError, match="No space"):
            refusals.note("no", origin=origin)
    with pytest.raises(OSError, match="No space"):
        refusals.settle()
    log.full = False
    refusals.settle()
    assert [line["origin"] for line in log] == ["a", "b"]
