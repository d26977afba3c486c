# SPDX-License-Identifier: Apache-2.0
from flap_sam.foundation.means import mean_of_known, spread_of_known


def test_what_is_not_known_does_not_count():
    assert mean_of_known([0.75, None, 0.25]) == 0.5
    assert mean_of_known([None, None]) is None
    assert mean_of_known([]) is None


def test_a_spread_needs_two():
    assert spread_of_known([None, 1.0]) is None
    assert spread_of_known([1.0, None, 3.0]) == 2**0.5
