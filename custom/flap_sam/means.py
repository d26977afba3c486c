"""Mean and spread of what is known: Dice has no value where the truth has no voxel of a class."""

import math
import statistics
from collections.abc import Iterable


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None; None where there is none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def spread_of_known(values: Iterable[float | None]) -> float | None:
    """Sample standard deviation of the values that are not None; None for fewer than two."""
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None
