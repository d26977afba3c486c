# SPDX-License-Identifier: Apache-2.0
"""The ring: sums do not wrap at the extremes, the mean is in error by less than K q / N, and impossible sums show."""

from fractions import Fraction
from math import isclose, prod

import numpy as np
import pytest
from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure import ring
from flap_sam.secure.ring import Contribution, Ring, quantum, rounded
from hypothesis import given, settings
from hypothesis import strategies as st

SHAPES = {"up.weight": (2, 3), "lora.B": (4, 1), "scale": ()}

caps = st.lists(st.integers(1, 2**20), min_size=3, max_size=7).map(
    lambda found: {f"site-{number}": cap for number, cap in enumerate(found)}
)
bounds = st.floats(1e-6, 1e6)


def summed(vectors: list[np.ndarray]) -> np.ndarray:
    total = np.zeros_like(vectors[0])
    for vector in vectors:
        total += vector
    return total


@given(st.integers(1, 2**31 - 1), bounds, st.integers(3, 1000))
def test_the_quantum_is_the_smallest_power_of_two_whose_sum_fits(weights, bound, sites):
    q = Fraction(quantum(weights, bound, sites))
    assert weights * Fraction(bound) / q + sites < 2**31 <= weights * Fraction(bound) / (q / 2) + sites
    assert q.numerator & (q.numerator - 1) == q.denominator & (q.denominator - 1) == 0


def test_the_quantum_of_the_pages_example():
    assert quantum(22302, 50.0, 6) == 2.0**-10
    assert [quantum(2**31 - 6 - over, 1.0, 6) for over in (1, 0)] == [1.0, 2.0]
    assert 6 * 2.0**-10 / 22302 < 2.7e-7


@given(caps, bounds, st.data())
def test_sums_do_not_wrap_at_the_extremes(caps, bound, data):
    """All sites at their caps and bounds, in one direction; the exact sum in whole numbers is the reference."""
    made = Ring(caps, bound, SHAPES, classes=2)
    sign = data.draw(st.sampled_from([1, -1]))
    change = {name: np.full(shape, sign * bound) for name, shape in SHAPES.items()}
    given_ = Contribution(2**40, change, loss=99.0, dice=[(1.0, 5000), None])
    total = summed([made.encode(site, given_) for site in caps])
    found = made.decode(total, caps)
    assert found.weight == sum(caps.values())
    exact = sum(int(v) for site in caps for v in made.encode(site, given_)[1:2].view(np.int32))
    assert int(total[1:2].view(np.int32)[0]) == exact
    assert abs(exact) < 2**31
    for mean in found.change.values():
        assert np.abs(mean - sign * bound).max(initial=0) < len(caps) * made.quantum / found.weight * (1 + 2**-20)
    assert isclose(found.loss, 16, abs_tol=len(caps) * made.loss_quantum / found.weight)
    assert found.dice[0] == (1.0, 1000 * len(caps))
    assert found.dice[1] is None


@settings(max_examples=60)
@given(caps, bounds, st.integers(0, 2**32), st.data())
def test_the_mean_is_in_error_by_less_than_k_q_over_n(caps, bound, seed, data):
    """Against the mean in fractions of Python's whole numbers, over any sites of the experiment."""
    made, drawn = Ring(caps, bound, SHAPES, classes=1), np.random.default_rng(seed)
    sites = data.draw(st.lists(st.sampled_from(sorted(caps)), min_size=1, unique=True))
    given_ = {
        site: Contribution(
            int(drawn.integers(1, 2**21)),
            {name: drawn.uniform(-bound, bound, shape).astype(np.float32) * 0.999 for name, shape in SHAPES.items()},
            loss=float(drawn.uniform(0, 20)),
            dice=[(float(drawn.uniform()), int(drawn.integers(1, 2000)))],
        )
        for site in sites
    }
    found = made.decode(summed([made.encode(site, given_[site]) for site in sites]), sites)
    weights = {site: min(given_[site].slices, caps[site]) for site in sites}
    assert found.weight == found.loss_weight == sum(weights.values())
    allowed = Fraction(len(caps)) / found.weight * (1 + Fraction(1, 2**20))
    for name, shape in SHAPES.items():
        for place in np.ndindex(shape):
            exact = sum(weights[site] * Fraction(float(given_[site].change[name][place])) for site in sites)
            error = abs(Fraction(float(found.change[name][place])) - exact / found.weight)
            assert error < allowed * Fraction(made.quantum)
    loss = sum(weights[site] * min(given_[site].loss, 16) for site in sites) / found.weight
    assert abs(found.loss - loss) < float(allowed) * made.loss_quantum + 1e-12
    cases = {site: min(given_[site].dice[0][1], 1000) for site in sites}
    dice = sum(cases[site] * given_[site].dice[0][0] for site in sites) / sum(cases.values())
    assert found.dice[0][1] == sum(cases.values())
    assert abs(found.dice[0][0] - dice) < len(caps) * made.dice_quantum / sum(cases.values()) + 1e-12


@pytest.mark.parametrize("value", [0.3, -0.3, 0.999, -7.25])
def test_rounding_is_to_the_neighbours_and_right_in_the_mean(value):
    drawn = rounded("x", np.full(40_000, value), weight=3, bound=100.0, q=1.0)
    assert set(drawn) <= {int(np.floor(3 * value)), int(np.ceil(3 * value))}
    assert abs(drawn.mean() - 3 * value) < 6 * 0.5 / 200
    assert set(rounded("x", np.full(100, 2.0), weight=3, bound=100.0, q=0.5)) == {12}


@pytest.mark.parametrize("value", [1.0000001, -1.0000001, np.inf, np.nan])
def test_a_number_beyond_the_bound_is_refused_and_never_wrapped(value):
    made = Ring({"a": 5, "b": 5, "c": 5}, 1.0, {"x": (2,)}, None)
    with pytest.raises(FlapSamError, match="x has a number beyond 1") as refusal:
        made.encode("a", Contribution(3, {"x": [0.0, value]}))
    assert refusal.value.reason is Reason.NORM


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (Contribution(3, {"x": [0.0]}, 1.0, [None]), "has shape"),
        (Contribution(3, {"x": [0.0, 0.0]}, -0.1, [None]), "The loss is -0.1"),
        (Contribution(3, {"x": [0.0, 0.0]}, float("nan"), [None]), "The loss is nan"),
        (Contribution(3, {"x": [0.0, 0.0]}, 1.0, [None, None]), "other than 1 classes"),
    ],
)
def test_what_is_no_contribution_is_refused(given_, said):
    with pytest.raises(FlapSamError, match=said):
        Ring({"a": 5, "b": 5, "c": 5}, 1.0, {"x": (2,)}, 1).encode("a", given_)


CAPS = {"a": 5, "b": 6, "c": 7}


def test_a_site_that_tells_no_figures_puts_zeros_in_their_place():
    made = Ring(CAPS, 1.0, {"x": (2,)}, 2)
    vector = made.encode("a", Contribution(3, {"x": [0.5, -0.5]}))
    assert vector.size == made.size == 1 + 2 + 2 + 4
    assert [*vector[3:]] == [0] * 6
    told = made.encode("b", Contribution(9, {"x": [0.0, 0.0]}, 2.0, [(0.5, 4), (0.9, 0)]))
    found = made.decode(vector + told, ["a", "b"])
    assert (found.weight, found.loss_weight) == (9, 6)
    assert isclose(found.loss, 2.0, abs_tol=1e-6)
    assert found.dice == ((0.5, 4), None)
    assert Ring(CAPS, 1.0, {"x": (2,)}).size == 3


@pytest.mark.parametrize(
    ("place", "number", "said"),
    [
        (0, 0, "the sum of weights is 0, expected 1 to 11"),
        (0, 12, "the sum of weights is 12"),
        (0, -1, "the sum of weights is -1"),
        (1, 2**31 - 1, "a number of x is beyond 1 in the mean"),
        (2, -(2**31), "a number of x is beyond 1 in the mean"),
        (3, 2**31 - 1, "the loss adds up"),
        (3, -1, "the loss adds up"),
        (4, 12, "the loss adds up"),
        (5, 2**30, "the Dice adds up"),
        (6, 2001, "the Dice adds up"),
        (6, -1, "the Dice adds up"),
    ],
)
def test_a_sum_that_no_sites_could_have_is_refused(place, number, said):
    made = Ring(CAPS, 1.0, {"x": (2,)}, 1)
    parts = [made.encode(site, Contribution(9, {"x": [0.5, -0.5]}, 1.0, [(0.5, 3)])) for site in ("a", "b")]
    total = parts[0] + parts[1]
    made.decode(total, ("a", "b"))
    total[place : place + 1] = np.array([number], np.int64).astype(np.uint32)
    with pytest.raises(FlapSamError, match=said):
        made.decode(total, ("a", "b"))
    with pytest.raises(FlapSamError, match="it has 6 numbers"):
        made.decode(total[:-1], ("a", "b"))


def test_the_layout_is_n_tensors_loss_dice():
    made = Ring(CAPS, 1.0, SHAPES, 1)
    change = {name: np.full(shape, number / 8) for number, (name, shape) in enumerate(SHAPES.items(), 1)}
    vector = made.encode("c", Contribution(7, change, 0.5, [(0.25, 8)])).astype(np.int64)
    expected = [7]
    for number, shape in enumerate(SHAPES.values(), 1):
        expected += [7 * number / 8 / made.quantum] * prod(shape)
    assert [*vector] == [*expected, 3.5 / made.loss_quantum, 7, 2 / made.dice_quantum, 8]
    assert ring.LARGEST_LOSS == 16
