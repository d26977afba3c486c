# SPDX-License-Identifier: Apache-2.0
"""Updates and figures as whole numbers modulo 2^32, whose sum does not wrap: the ring.

    x = floor(w v / q + r) mod 2^32,    r uniform in [0, 1)

with w a site's weight, v a number bounded by C in size, and q the smallest power of two with

    (sum of the largest weights) C / q + K < 2^31,    K the number of sites.

A whole number is less than 1 away from w v / q, and never beyond w C / q in size: the sum of all stays below 2^31, and
sum q / N, with N the sum of weights, is in error by less than K q / N.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import floor, prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure.terms import HALF

LARGEST_LOSS = 16.0
LARGEST_DICE = 1.0
MOST_CASES = 1000
RANDOM_BITS = 24

Vector = NDArray[np.uint32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Contribution:
    """What a site puts into a sum.

    Args:
        slices: number of training slices.
        change: what the update changes each tensor that goes up by.
        loss: None where the site does not tell it.
        dice: by class the mean Dice and the number of cases that have the class; None where it is not told.
    """

    slices: int
    change: Mapping[str, ArrayLike]
    loss: float | None = None
    dice: Sequence[tuple[float, int] | None] | None = None


@dataclass(frozen=True)
class Sum:
    """What a sum says.

    Args:
        weight: N, the sum of the sites' weights.
        change: the weighted mean of the sites' changes, by tensor.
        loss: the weighted mean over those who told it; loss_weight: the sum of their weights.
        dice: by class the mean over cases and their number; None for a class of which there is no case.
    """

    weight: int
    change: dict[str, Floats]
    loss: float | None
    loss_weight: int
    dice: tuple[tuple[float, int] | None, ...]


@dataclass(frozen=True)
class Ring:
    """The layout of one exchange's vector: N, the tensors, loss and its weight, for each class Dice and cases.

    Args:
        caps: the largest weight of a site, by its name, for all sites of the experiment.
        largest_change: C, which no number of a change exceeds in size.
        shapes: of the tensors that go up, in the network's order.
        classes: how many have a Dice; None where the vector holds neither loss nor Dice, as that of sketch-y.
    """

    caps: Mapping[str, int]
    largest_change: float
    shapes: Mapping[str, tuple[int, ...]]
    classes: int | None = None

    @cached_property
    def quantum(self) -> float:
        """q of the tensors."""
        return quantum(self._weights, self.largest_change, len(self.caps))

    @cached_property
    def loss_quantum(self) -> float:
        return quantum(self._weights, LARGEST_LOSS, len(self.caps))

    @cached_property
    def dice_quantum(self) -> float:
        return quantum(MOST_CASES * len(self.caps), LARGEST_DICE, len(self.caps))

    @property
    def size(self) -> int:
        """M, how many numbers the vector has."""
        figures = 0 if self.classes is None else 2 + 2 * self.classes
        return 1 + sum(map(prod, self.shapes.values())) + figures

    def encode(self, site: str, given: Contribution) -> Vector:
        """A site's vector before masks.

        Raises:
            FlapSamError: a number is beyond its bound, or none.
        """
        weight = min(given.slices, self.caps[site])
        parts = [exactly(weight)]
        for name, shape in self.shapes.items():
            change = np.asarray(given.change[name], np.float64)
            if change.shape != shape:
                raise FlapSamError(f"{name} has shape {change.shape}; expected {shape}.", Reason.RESULT)
            parts.append(rounded(name, change.ravel(), weight, self.largest_change, self.quantum))
        if self.classes is not None:
            parts += self._figures(given, weight)
        return np.concatenate(parts).astype(np.uint32)

    def decode(self, total: Vector, sites: Collection[str]) -> Sum:
        """What the sum of the vectors of some sites says.

        Raises:
            FlapSamError: it is none that their vectors within their bounds could have.
        """
        signed = total.view(np.int32).astype(np.int64)
        if signed.shape != (self.size,):
            raise _impossible(f"it has {signed.size} numbers, expected {self.size}")
        weight = int(signed[0])
        most = sum(self.caps[site] for site in sites)
        if not 1 <= weight <= most:
            raise _impossible(f"the sum of weights is {weight}, expected 1 to {most}")
        change: dict[str, Floats] = {}
        at = 1
        largest = Fraction(self.largest_change) * weight / Fraction(self.quantum)
        for name, shape in self.shapes.items():
            part = signed[at : at + prod(shape)]
            if part.size and int(np.abs(part).max()) > largest:
                raise _impossible(f"a number of {name} is beyond {self.largest_change:g} in the mean")
            change[name] = np.multiply(part, self.quantum / weight, dtype=np.float64).reshape(shape)
            at += part.size
        if self.classes is None:
            return Sum(weight, change, None, 0, ())
        figures = [int(number) for number in signed[at:]]
        loss = _mean("loss", figures[0], figures[1], self.loss_quantum, LARGEST_LOSS, weight)
        dice = tuple(
            _mean("Dice", scored, cases, self.dice_quantum, LARGEST_DICE, MOST_CASES * len(sites))
            for scored, cases in zip(figures[2::2], figures[3::2], strict=True)
        )
        told = tuple(None if mean is None else (mean, cases) for mean, cases in zip(dice, figures[3::2], strict=True))
        return Sum(weight, change, loss, figures[1], told)

    @property
    def _weights(self) -> int:
        return sum(self.caps.values())

    def _figures(self, given: Contribution, weight: int) -> list[NDArray[np.int64]]:
        parts = _figure("The loss", given.loss, weight, LARGEST_LOSS, self.loss_quantum)
        for scored in given.dice or [None] * (self.classes or 0):
            mean, cases = scored or (None, 0)
            parts += _figure("The Dice", mean, min(cases, MOST_CASES), LARGEST_DICE, self.dice_quantum)
        if len(parts) != 2 + 2 * (self.classes or 0):
            raise FlapSamError(f"There are Dice of other than {self.classes} classes.", Reason.RESULT)
        return parts


def quantum(weights: int, bound: float, sites: int) -> float:
    """The smallest power of two q with weights * bound / q + sites < 2^31."""
    least = Fraction(bound) * weights / (HALF - sites)  # q must be above it
    exponent = least.numerator.bit_length() - least.denominator.bit_length() - 1
    while Fraction(2) ** exponent <= least:
        exponent += 1
    return float(2.0**exponent)


def exactly(number: int) -> NDArray[np.int64]:
    """A whole number as it stands, of quantum 1."""
    return np.array([number], np.int64)


def rounded(name: str, numbers: Floats, weight: int, bound: float, q: float) -> NDArray[np.int64]:
    """w v / q rounded at random to one of its two neighbours, kept in the mean, and never beyond w C / q in size.

    Args:
        name: of what the numbers are, for the error.

    Raises:
        FlapSamError: a number is beyond the bound in size, or none.
    """
    if not (np.abs(numbers) <= bound).all():
        raise FlapSamError(f"{name} has a number beyond {bound:g} in size, or none; see largest_change.", Reason.NORM)
    exact = numbers * (weight / q)
    below = np.floor(exact)
    drawn = (np.frombuffer(os.urandom(4 * numbers.size), "<u4") >> (32 - RANDOM_BITS)) * 2.0**-RANDOM_BITS
    whole = below + (exact - below + drawn >= 1)
    most = floor(Fraction(bound) * weight / Fraction(q))
    held: NDArray[np.int64] = np.clip(whole, -most, most).astype(np.int64)
    return held


def _figure(name: str, mean: float | None, weight: int, bound: float, q: float) -> list[NDArray[np.int64]]:
    """A weighted mean and its weight; zeros where it is not told, or of nothing."""
    if mean is None or weight == 0:
        return [exactly(0), exactly(0)]
    if not mean >= 0:
        raise FlapSamError(f"{name} is {mean}; expected 0 or more.", Reason.DIVERGED)
    held = np.array([min(mean, bound)], np.float64)
    return [rounded(name, held, weight, bound, q), exactly(weight)]


def _mean(name: str, total: int, weight: int, q: float, bound: float, most: int) -> float | None:
    if not 0 <= weight <= most or not 0 <= total * Fraction(q) <= weight * Fraction(bound):
        raise _impossible(f"the {name} adds up to {total * q:g} of weight {weight}")
    return total * q / weight if weight else None


def _impossible(found: str) -> FlapSamError:
    return FlapSamError(
        f"The secure sum is none that the sites could have: {found}. A site's vector was wrong; masks hide whose.",
        Reason.RESULT,
    )
