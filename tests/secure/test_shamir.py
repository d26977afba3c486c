# SPDX-License-Identifier: Apache-2.0
"""Any t shares restore a secret, and fewer are refused."""

import os
from itertools import combinations

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.secure.shamir import restore, split
from hypothesis import given
from hypothesis import strategies as st


@given(st.binary(min_size=16, max_size=16), st.integers(1, 6), st.data())
def test_any_shares_up_to_the_threshold_restore_the_secret(secret, sites, data):
    threshold = data.draw(st.integers(1, sites))
    shares = dict(enumerate(split(secret, threshold, sites), 1))
    assert all(
        restore({place: shares[place] for place in places}, threshold) == secret
        for places in combinations(shares, threshold)
    )
    assert restore(shares, threshold) == secret


def test_fewer_shares_are_refused_and_a_wrong_one_gives_another_secret():
    secret = os.urandom(16)
    shares = dict(enumerate(split(secret, 3, 5), 1))
    with pytest.raises(FlapSamError, match="2 shares of a secret; expected 3"):
        restore({1: shares[1], 2: shares[2]}, 3)
    assert restore(shares | {2: bytes(16)}, 3) != secret


@pytest.mark.parametrize(("size", "threshold", "sites"), [(15, 2, 3), (17, 2, 3), (16, 0, 3), (16, 4, 3)])
def test_what_cannot_be_split_is_refused(size, threshold, sites):
    with pytest.raises(ValueError, match="a secret of"):
        split(bytes(size), threshold, sites)


@pytest.mark.parametrize("shares", [{0: bytes(16), 1: bytes(16)}, {1: bytes(15), 2: bytes(16)}])
def test_what_is_no_share_is_refused(shares):
    with pytest.raises(ValueError, match="a share is at place 0"):
        restore(shares, 2)
