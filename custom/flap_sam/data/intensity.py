# SPDX-License-Identifier: Apache-2.0
"""How raw intensities become the 16-bit codes of a store.

A scan is clipped as its site prescribes, and its remaining range is laid on 0..65535, meaning 0..1. Scaling
to 0..1 undoes any scaling and shifting before it, so z-scoring a scan first would change no code.
"""

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from flap_sam.data.geometry import Volume, by_rows
from flap_sam.errors import FlapSamError
from flap_sam.foundation.strict import StrictModel

CODE_MAXIMUM = 65535

Percentile = Annotated[float, Field(ge=0, le=100)]


class SiteIntensity(StrictModel):
    """One table for all scans of a site, in the scans' own unit (CT: HU)."""

    low: float
    high: float
    mean: float
    std: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} to be at most high {self.high:g}")
        return self

    def bounds(self, image: np.ndarray) -> tuple[float, float]:
        """Where to clip a scan."""
        return self.low, self.high


class VolumeIntensity(StrictModel):
    """Every scan by its own percentiles, for scans without an absolute unit (MR)."""

    low_percentile: Percentile
    high_percentile: Percentile

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.low_percentile >= self.high_percentile:
            raise ValueError(f"low_percentile {self.low_percentile:g} to be below {self.high_percentile:g}")
        return self

    def bounds(self, image: np.ndarray) -> tuple[float, float]:
        """Where to clip a scan."""
        low, high = np.percentile(image, (self.low_percentile, self.high_percentile))
        return float(low), float(high)


def _kind(found: object) -> str:
    keys = found if isinstance(found, dict) else type(found).model_fields if isinstance(found, StrictModel) else ()
    return "volume" if "low_percentile" in keys else "site"


Intensity = SiteIntensity | VolumeIntensity
IntensityField = Annotated[
    Annotated[SiteIntensity, Tag("site")] | Annotated[VolumeIntensity, Tag("volume")], Discriminator(_kind)
]
"""An `Intensity` as a field of a model, told apart by its keys."""


@dataclass(frozen=True)
class Encoded:
    """Codes uint16 [slices, rows, columns], and the intensities that 0 and 65535 stand for."""

    codes: np.ndarray
    minimum: float
    maximum: float


def encode(volume: Volume, intensity: Intensity) -> Encoded:
    """Clip a scan and lay it on 16 bits.

    Raises:
        FlapSamError: the scan has one single intensity after clipping.
    """
    low, high = intensity.bounds(volume.array)
    minimum, maximum = np.clip((volume.array.min(), volume.array.max()), low, high).astype(float)
    if minimum == maximum:
        raise FlapSamError(
            f"{volume.path} has the one intensity {minimum:g} everywhere after clipping to {low:g}..{high:g}, "
            "expected a scan; check its unit and the site's intensity table."
        )
    scale = CODE_MAXIMUM / (maximum - minimum)

    def code(row: np.ndarray) -> np.ndarray:
        values = row.astype(np.float64)
        np.clip(values, minimum, maximum, out=values)
        values -= minimum
        values *= scale
        return np.rint(values, out=values)

    return Encoded(by_rows(volume.array, np.uint16, code), float(minimum), float(maximum))
