# SPDX-License-Identifier: Apache-2.0
"""Mean and spread of what is known: Dice has no value where the truth has no voxel of a class."""

import itertools
import math
import statistics
from collections.abc import Iterable


def mean_of_known(values: Iterable[float | None], weights: Iterable[float] | None = None) -> float | None:
    """Mean, perhaps weighted, of the values that are not None; None where there is none."""
    pairs = zip(values, itertools.repeat(1) if weights is None else weights, strict=False)
    known = [(value, weight) for value, weight in pairs if value is not None]
    return math.fsum(v * w for v, w in known) / math.fsum(w for _, w in known) if known else None


def spread_of_known(values: Iterable[float | None]) -> float | None:
    """Sample standard deviation of the values that are not None; None for fewer than two."""
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None
