# SPDX-License-Identifier: Apache-2.0
"""The threshold, and terms under which no sum may be made."""

import pytest
from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure.terms import Terms
from hypothesis import given
from hypothesis import strategies as st


def terms(n: int, colluders: int = 1, least_sites: int | None = None, cap: int = 10) -> Terms:
    return Terms(bytes(32), {f"site-{number}": cap for number in range(n)}, colluders, least_sites or n)


@pytest.mark.parametrize(
    ("n", "c", "t"), [(3, 1, 3), (4, 1, 3), (5, 1, 4), (6, 1, 4), (6, 2, 5), (24, 1, 13), (100, 1, 51)]
)
def test_the_thresholds_of_the_page(n, c, t):
    assert terms(n, c).threshold(n) == t


@given(st.integers(3, 1000), st.data())
def test_two_lists_share_an_honest_signer_and_all_sites_are_enough(n, data):
    c = data.draw(st.integers(0, n - 2))
    t = terms(n, c).threshold(n)
    assert 2 * t > n + c >= 2 * (t - 1)
    assert t <= n
    assert t > c


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: terms(2, 0), "name 2 sites"),
        (lambda: terms(1001), "name 1001 sites"),
        (lambda: terms(4, 1, 2), "least_sites is 2 with 1 colluders; expected 3 to 4"),
        (lambda: terms(4, 3), "least_sites is 4 with 3 colluders"),
        (lambda: terms(4, 1, 5), "least_sites is 5"),
        (lambda: terms(4, -1), "-1 colluders"),
        (lambda: terms(4, cap=0), "a cap is below 1"),
        (lambda: terms(4, cap=2**29), "add up to 2^31"),
    ],
)
def test_terms_without_two_honest_sites_or_beyond_the_ring_are_refused(made, said):
    with pytest.raises(FlapSamError, match=said.replace("^", r"\^")) as refusal:
        made()
    assert refusal.value.reason is Reason.EXPERIMENT
