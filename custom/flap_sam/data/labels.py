# SPDX-License-Identifier: Apache-2.0
"""Label maps: whole numbers, each of which stands for a class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flap_sam.errors import FlapSamError

NEARLY = 1e-3  # how far from a whole number a label may be, for the sake of rounding
FEW = 5  # values in a sentence


@dataclass(frozen=True)
class LabelRule:
    """How the numbers of a label map become classes.

    Attributes:
        classes: how many there are, background not counted.
        any_label: whatever is above 0 is class 1.
        values: the class of every number in the map, as `labels.csv` lists them; 0 need not be listed. None where the
            numbers are the classes.
    """

    classes: int
    any_label: bool = False
    values: Mapping[int, int] | None = None

    def __post_init__(self) -> None:
        if self.values and (highest := max(self.values.values())) > self.classes:
            raise FlapSamError(
                f"labels.csv lists the class {highest}, but there are {self.classes} classes; correct it, or name more."
            )

    def apply(self, numbers: np.ndarray) -> np.ndarray:
        """The classes, uint8 of the same shape; raises ValueError where a number stands for none, see `complaint`."""
        classes, known = self._apply(numbers)
        if not known.all():
            raise ValueError("a number stands for no class")
        return classes

    def complaint(self, path: Path, numbers: np.ndarray) -> FlapSamError:
        """The error of a label map that `apply` refuses: which numbers stand for no class."""
        strange = np.unique(numbers[~self._apply(numbers)[1]])
        first, *others = map(_digits, strange[: FEW + 1])
        more = f" and {len(strange) - FEW} more" if len(strange) > FEW else ""
        also = f" (and {', '.join(others[: FEW - 1])}{more})" if others else ""
        interpolated = numbers.dtype.kind == "f" and np.any(np.abs(strange - np.rint(strange)) > NEARLY)
        remedy = (
            "it was interpolated, resample it again by nearest neighbour."
            if interpolated
            else "correct the label map, or list what its numbers stand for in labels.csv."
        )
        return FlapSamError(f"{path} holds the label {first}{also}, expected {self._expected()}; {remedy}")

    def _apply(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The classes, and which numbers stand for one."""
        whole = np.rint(numbers) if numbers.dtype.kind == "f" else numbers
        if self.values is None:
            known = (whole >= 0) & (self.any_label | (whole <= self.classes))
            classes = whole > 0 if self.any_label else np.where(known, whole, 0)
        else:
            classes, known = np.zeros(whole.shape, np.uint8), whole == 0
            for number, label in self.values.items():
                found = whole == number
                classes[found] = label
                known |= found
        if numbers.dtype.kind == "f":
            known &= np.abs(numbers - whole) <= NEARLY
        return classes.astype(np.uint8), known

    def _expected(self) -> str:
        if self.values is not None:
            return f"only those that labels.csv lists ({', '.join(map(str, sorted(self.values)))})"
        return "only whole numbers from 0" if self.any_label else f"only the whole numbers 0 to {self.classes}"


def _digits(value: np.floating | np.integer) -> str:
    """A number with all the digits that tell it from its neighbours."""
    if value.dtype.kind != "f" or value == np.rint(value):
        return str(int(value))
    return np.format_float_positional(value, trim="-")
