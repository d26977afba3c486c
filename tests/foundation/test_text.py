# SPDX-License-Identifier: Apache-2.0
"""Text for a terminal: what others have named or said stands in it as it is, and does nothing."""

import pytest
from flap_sam.foundation.text import as_text, duration, harmless, in_order
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

ORDERS = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x9b31m",
    "[red]",
    "[/x]",
    "[link=http://x]y[/link]",
    "\udcff",
    "\u202e",
    ":smile:",
]


@given(st.text(st.characters(codec=None)))
def test_only_what_can_be_seen_is_left(text):
    told = harmless(text)
    assert len(told) == len(text)
    assert all(char.isprintable() or char in "\n\t" for char in told)
    assert harmless(told) == told


@pytest.mark.parametrize("order", ORDERS)
def test_a_cell_orders_nothing(order):
    table = Table()
    table.add_column("name")
    table.add_row(f"a{order}b")
    for told in (as_text(table), as_text(f"a{order}b")):
        assert not any(char in told for char in "\x1b\x9b\x07\udcff\u202e")
        if order.isprintable():
            assert f"a{order}b" in told


def test_names_are_in_the_order_of_their_numbers():
    assert sorted(["site-10", "b", "site-2", "2"], key=in_order) == ["2", "b", "site-2", "site-10"]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0.0 minutes"),
        (90, "1.5 minutes"),
        (7199, "120.0 minutes"),
        (7200, "2.0 hours"),
        (86400 * 1200, "1,200.0 days"),
    ],
)
def test_a_duration_is_told_in_the_unit_that_fits(seconds, told):
    assert duration(seconds) == told
