# SPDX-License-Identifier: Apache-2.0
"""Gaussian noise in whole numbers, exact, from the operating system's entropy.

The discrete Gaussian N_Z(0, sigma^2) gives the whole number x with probability proportional to exp(-x^2 / 2 sigma^2).
It is sampled by algorithms 1 to 3 of Canonne, Kamath and Steinke (The Discrete Gaussian for Differential Privacy,
arXiv 2004.00010, section 5), for arrays instead of single numbers: a discrete Laplace number of scale sigma is
proposed, and kept with a probability that makes it Gaussian. Every decision compares uniform whole numbers with whole
numbers, so nothing is rounded, and no pattern of floating point tells what lies under the noise (Mironov, On
Significance of the Least Significant Bits for Differential Privacy, CCS 2012). One thing is not exact: a proposal
beyond 31 sigma is never kept, which moves a number's distribution by less than 2^-690 in total variation.

Every bit comes from `os.urandom`, the kernel's generator of 256 bits: there is no seed that could be tried, no state
that a forked process shares, and no fallback, as it raises where there is no entropy. How long the sampling takes
depends on the noise, but not on what the noise is added to.
"""

import os

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**17  # proposals at a time
LARGEST_SIGMA = 2**26
FARTHEST = 30  # sigmas, rounded down, of the farthest proposal; with LARGEST_SIGMA all products stay below 2^62

Integers = NDArray[np.int64]
Decisions = NDArray[np.bool_]


def discrete_gaussian(count: int, sigma: int) -> Integers:
    """`count` independent numbers of N_Z(0, sigma^2).

    Args:
        sigma: a whole number from 1 to `LARGEST_SIGMA`. The standard deviation is sigma too, to a millionth.

    Raises:
        ValueError: sigma is outside that range.
        OSError, NotImplementedError: the operating system has no entropy to give.
    """
    if not 1 <= sigma <= LARGEST_SIGMA:
        raise ValueError(f"sigma is {sigma}; expected 1 to {LARGEST_SIGMA}")
    numbers, done = np.empty(count, np.int64), 0
    while done < count:
        proposals = min(BLOCK, 16 + 9 * (count - done) // 4)  # nearly half are kept
        kept = _kept(proposals, sigma)[: count - done]
        numbers[done : done + len(kept)] = kept
        done += len(kept)
    return numbers


def _kept(proposals: int, sigma: int) -> Integers:
    """Those of so many proposals that pass, in order (algorithm 3, with t = sigma)."""
    laplace = _laplace(proposals, sigma)
    return laplace[_exp((np.abs(laplace) - sigma) ** 2, 2 * sigma**2)]


def _laplace(proposals: int, scale: int) -> Integers:
    """Numbers x of probability proportional to exp(-|x| / scale), fewer than proposed (algorithm 2)."""
    rest = uniform_below(scale, proposals)
    rest = rest[_exp(rest, scale)]
    whole = _geometric(len(rest))
    size = rest + scale * whole
    negative = uniform_below(2, len(size)) == 1
    valid = (whole <= FARTHEST) & ~(negative & (size == 0))  # a zero of either sign would count twice
    size[negative] *= -1
    kept: Integers = size[valid]
    return kept


def _geometric(count: int) -> Integers:
    """Numbers v of probability proportional to exp(-v), those beyond FARTHEST as FARTHEST + 1."""
    numbers = np.zeros(count, np.int64)
    rising = np.arange(count)
    while len(rising):
        rising = rising[_exp_of_one(len(rising))]
        numbers[rising] += 1
        rising = rising[numbers[rising] <= FARTHEST]
    return numbers


def _exp(numerators: Integers, denominator: int) -> Decisions:
    """True with probability exp(-numerator / denominator) each (algorithm 1)."""
    whole, rest = np.divmod(numerators, denominator)
    passed = _exp_below_one(rest, denominator)
    going = np.flatnonzero(passed & (whole > 0))
    while len(going):
        held = _exp_of_one(len(going))
        passed[going[~held]] = False
        whole[going] -= 1
        going = going[held & (whole[going] > 0)]
    return passed


def _exp_of_one(count: int) -> Decisions:
    """True with probability exp(-1) each."""
    return _exp_below_one(np.ones(count, np.int64), 1)


def _exp_below_one(numerators: Integers, denominator: int) -> Decisions:
    """True with probability exp(-g) each, for g = numerator / denominator from 0 to 1.

    Trial k succeeds with probability g / k; the first to fail is an odd one with probability exp(-g).
    """
    passed = np.empty(len(numerators), np.bool_)
    going, trial = np.arange(len(numerators)), 1
    while len(going):
        success = uniform_below(denominator, len(going)) < numerators[going]
        success[success] = uniform_below(trial, int(np.count_nonzero(success))) == 0
        passed[going[~success]] = trial % 2 == 1
        going, trial = going[success], trial + 1
    return passed


def uniform_below(bound: int, count: int) -> Integers:
    """Uniform numbers from 0 to bound - 1: as many bits as bound needs, drawn again where they reach it."""
    bits = (bound - 1).bit_length()
    numbers = _uniform(bits, count)
    while len(again := np.flatnonzero(numbers >= bound)):
        numbers[again] = _uniform(bits, len(again))
    return numbers


def _uniform(bits: int, count: int) -> Integers:
    """Uniform numbers of so many bits, from 0 to 62."""
    if bits == 0:
        return np.zeros(count, np.int64)
    width = next(size for size in (1, 2, 4, 8) if bits <= 8 * size)
    words = np.frombuffer(os.urandom(width * count), f"<u{width}") >> (8 * width - bits)
    return words.astype(np.int64)
