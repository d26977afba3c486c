# SPDX-License-Identifier: Apache-2.0
"""Of lines without end few are written, and the number of all can be told from them."""

from itertools import count

import pytest
from flap_sam.gate.flood import MOST, Flood, is_power_of_ten
from hypothesis import given
from hypothesis import strategies as st


def test_the_first_are_written_as_they_are_then_the_thousandth_the_ten_thousandth():
    flood, entry = Flood(), {"refused": "task"}
    written = {number: line for number in range(1, 100_001) if (line := flood.due(entry))}
    assert list(written) == [*range(1, MOST + 1), 1000, 10_000, 100_000]
    assert all(written[number] is entry for number in range(1, MOST + 1))
    assert written[1000] == {"refused": "task", "number": 1000}
    assert entry == {"refused": "task"}, "the caller's own is left alone"


def test_each_process_counts_for_itself():
    for _ in range(2):
        flood = Flood()
        assert sum(flood.due({}) is not None for _ in range(500)) == MOST


@given(st.integers(1, 10**15))
def test_powers_of_ten_are_told(number):
    assert is_power_of_ten(number) == (number in (10**k for k in range(16)))


@pytest.mark.parametrize("number", [0, 11, 20, 110, 101, 1001])
def test_what_merely_looks_like_one_is_none(number):
    assert not is_power_of_ten(number)
    assert next(k for k in count(1) if is_power_of_ten(10**k))
