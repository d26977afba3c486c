# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from collections import Counter
from math import exp

import numpy as np
import pytest
from flap_sam.gate import discrete_gaussian as module
from flap_sam.gate.discrete_gaussian import LARGEST_SIGMA, discrete_gaussian
from scipy.stats import chi2, chisquare

COUNT = 200_000
UNLIKELY = 1e-9  # the noise cannot be seeded: a sound sampler fails one of these tests once in a million runs


def masses(sigma: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers up to 9 sigma either side, and their probabilities from the definition."""
    numbers = np.arange(-9 * sigma, 9 * sigma + 1)
    weights = np.exp(-((numbers / sigma) ** 2) / 2)
    return numbers, weights / weights.sum()


def binned(sigma: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges of bins a quarter of sigma or one number wide, and the probability of each; the outermost hold the rest."""
    numbers, probabilities = masses(sigma)
    width = max(1, sigma // 4)
    edges = np.arange(-3 * sigma - width // 2, 3 * sigma + width, width)
    place = np.searchsorted(edges, numbers, side="right")
    return edges, np.bincount(place, probabilities, minlength=len(edges) + 1)


@pytest.mark.parametrize("sigma", [1, 2, 3, 30, 1000, 10**5, 2**18, LARGEST_SIGMA])
def test_the_numbers_are_distributed_as_defined(sigma):
    noise = discrete_gaussian(COUNT, sigma)
    edges, probabilities = binned(min(sigma, 2**18))
    factor = max(1, sigma // 2**18)  # beyond, the masses are those of the smaller sigma, spread
    place = np.searchsorted(edges * factor - (factor - 1) // 2, noise, side="right")
    observed = np.bincount(place, minlength=len(probabilities))
    assert chisquare(observed, probabilities * COUNT).pvalue > UNLIKELY
    assert abs(noise.mean()) < 6 * sigma / COUNT**0.5
    assert noise.var() / sigma**2 == pytest.approx(1, abs=6 * (2 / COUNT) ** 0.5)


@pytest.mark.parametrize("scale", [1, 7, 2**18])
def test_proposals_fall_off_exponentially_into_the_tail(scale):
    sizes = np.abs(module._laplace(3 * COUNT, scale))
    zero = (1 - exp(-1 / scale)) / (1 + exp(-1 / scale))  # the probability of 0; each side has half of the rest
    above = np.array([(1 - zero) * exp(-steps) for steps in range(10)])  # of 1 + steps * scale or more
    expected = -np.diff([1, *above, 0]) * len(sizes)
    observed = np.bincount(np.minimum((sizes - 1) // scale + 1, 10), minlength=11)
    assert chisquare(observed, expected).pvalue > UNLIKELY


def test_no_proposal_is_so_far_that_whole_numbers_overflow(monkeypatch):
    monkeypatch.setattr(module, "_exp_of_one", lambda count: np.ones(count, np.bool_))
    assert module._geometric(5).tolist() == [module.FARTHEST + 1] * 5
    assert len(module._laplace(1000, LARGEST_SIGMA)) == 0
    assert max(((module.FARTHEST + 1) * LARGEST_SIGMA) ** 2, 2 * LARGEST_SIGMA**2) < 2**63


@pytest.mark.parametrize("sigma", [1000, 2**18 + 1])
def test_no_residue_is_preferred(sigma):
    """The low bits of the noise are uniform, as those of a wide distribution are."""
    noise = discrete_gaussian(COUNT, sigma)
    for modulus in (2, 3, 256, 997):
        observed = np.bincount(noise % modulus, minlength=modulus)
        assert chisquare(observed).pvalue > UNLIKELY


@pytest.mark.parametrize("sigma", [1, 2**18])
def test_neighbours_are_independent(sigma):
    """No correlation of numbers, sizes or signs over the distances at which blocks and words could repeat."""
    noise = discrete_gaussian(COUNT, sigma)
    for distance in (1, 2, 3, 64, module.BLOCK):
        for seen in (noise, np.abs(noise), np.sign(noise)):
            correlation = np.corrcoef(seen[:-distance], seen[distance:])[0, 1]
            assert abs(correlation) < 6.5 / (COUNT - distance) ** 0.5


@pytest.mark.parametrize("count", [0, 1, 17, module.BLOCK + 1])
def test_there_are_as_many_as_asked_for(count):
    noise = discrete_gaussian(count, 2)
    assert noise.shape == (count,)
    assert noise.dtype == np.int64


@pytest.mark.parametrize("sigma", [0, -1, LARGEST_SIGMA + 1])
def test_a_sigma_out_of_range_is_refused(sigma):
    with pytest.raises(ValueError, match="expected 1 to"):
        discrete_gaussian(1, sigma)


@pytest.mark.parametrize(("numerator", "denominator"), [(0, 7), (1, 3), (7, 7), (15, 8), (9, 2), (2**54, 2**53 + 1)])
def test_decisions_fall_with_the_exponential_probability(numerator, denominator):
    passed = np.count_nonzero(module._exp(np.full(COUNT, numerator, np.int64), denominator))
    expected = exp(-numerator / denominator)
    if expected == 1:
        assert passed == COUNT
    else:
        assert abs(passed - COUNT * expected) < 6.5 * (COUNT * expected * (1 - expected)) ** 0.5


def test_each_number_is_decided_by_its_own_probability():
    numerators = np.arange(40, dtype=np.int64).repeat(20_000)
    passed = module._exp(numerators, 10).reshape(40, -1).sum(axis=1)
    expected = np.exp(-np.arange(40) / 10)
    spread = 20_000 * expected * (1 - expected)
    assert passed[0] == 20_000
    assert chi2.sf(((passed - 20_000 * expected)[1:] ** 2 / spread[1:]).sum(), 39) > UNLIKELY


@pytest.mark.parametrize("bound", [1, 2, 3, 5, 100, 128, 255, 256])
def test_uniform_numbers_come_equally_often_from_all_words(bound, monkeypatch):
    """Exact: every byte goes in once, and each number comes out of equally many of them."""
    words = list(range(256))

    def every_byte_once(size: int) -> bytes:
        drawn = bytes(words[:size])
        del words[:size]
        return drawn + b"\0" * (size - len(drawn))

    monkeypatch.setattr(os, "urandom", every_byte_once)
    bits = (bound - 1).bit_length()
    kept = 256 if bound == 1 else bound * 2 ** (8 - bits)
    counts = Counter(module.uniform_below(bound, kept).tolist())
    assert counts == dict.fromkeys(range(bound), kept // bound)


@pytest.mark.parametrize("bound", [257, 2**16 + 1, 2**32 - 1, 2**53 + 1])
def test_uniform_numbers_reach_all_of_a_wide_range(bound):
    numbers = module.uniform_below(bound, COUNT)
    assert numbers.min() >= 0
    assert numbers.max() < bound
    observed = np.histogram(numbers / bound, bins=64, range=(0, 1))[0]
    exact = np.histogram(np.arange(bound) / bound, bins=64, range=(0, 1))[0] / bound if bound < 2**17 else 1 / 64
    assert chisquare(observed, np.broadcast_to(exact * COUNT, 64)).pvalue > UNLIKELY


def test_where_the_system_has_no_entropy_there_is_no_noise(monkeypatch):
    def none(_size: int) -> bytes:
        raise OSError("no entropy")

    monkeypatch.setattr(os, "urandom", none)
    with pytest.raises(OSError, match="no entropy"):
        discrete_gaussian(10, 30)


FORKS = """
import os
from flap_sam.gate.discrete_gaussian import discrete_gaussian
discrete_gaussian(100, 2**18)
for _ in range(3):
    if os.fork() == 0:
        print(discrete_gaussian(8, 2**18).tolist(), flush=True)
        os._exit(0)
    os.wait()
print(discrete_gaussian(8, 2**18).tolist())
print(discrete_gaussian(8, 2**18).tolist())
"""


def test_neither_forked_processes_nor_calls_share_noise():
    ran = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    drawn = ran.stdout.splitlines()
    assert len(drawn) == 5
    assert len(set(drawn)) == 5
