# SPDX-License-Identifier: Apache-2.0
"""Magnetic resonance: what a tissue gives under a site's sequence, and how the coils shade it."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from flap_sam.data.phantoms.body import Body, warped
from flap_sam.data.phantoms.scanner import Grid, Scanner

LIMITS = (0, 4095)


class Tissue(NamedTuple):
    """Proton density, 1 for water, and relaxation times in ms, as they are at about 1.5 T."""

    density: float
    t1: float
    t2: float


AIR = Tissue(0, 1, 1)
WATER = Tissue(1, 4000, 2000)  # cerebrospinal fluid, urine, the eye's vitreous body
FAT = Tissue(0.9, 250, 100)
MARROW = Tissue(0.7, 320, 80)
MUSCLE = Tissue(0.8, 900, 40)
BONE = Tissue(0.12, 400, 10)  # the dense rim, which gives hardly any signal


@dataclass(frozen=True, kw_only=True)
class MrScanner(Scanner):
    """A site's MR; its unit is arbitrary, as it is in MR.

    Attributes:
        repetition, echo: times of its spin echo sequence in ms; short ones weight by T1, long ones by T2.
        gain: what water would give without any decay.
        shading: how uneven its coils are; 0.2 is about a fifth up and down.
    """

    repetition: float
    echo: float
    gain: float
    shading: float

    def signal(self, tissue: Tissue) -> float:
        """Gain · density · (1 - e^(-TR/T1)) · e^(-TE/T2)."""
        recovered = 1 - np.exp(-self.repetition / tissue.t1)
        return self.gain * tissue.density * recovered * np.exp(-self.echo / tissue.t2)


@dataclass
class MrBody(Body):
    """The grid being painted, in tissues as a scanner sees them."""

    scanner: MrScanner

    @classmethod
    def on(cls, rng: np.random.Generator, scanner: MrScanner, grid: Grid, scale: tuple[float, float]) -> Self:
        """Air, where a patient is to be painted.

        Args:
            scale: least and greatest size of a patient along each axis.
        """
        x, y, z = (axis / size for axis, size in zip((grid.x, grid.y, grid.z), rng.uniform(*scale, 3), strict=True))
        values, label = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.uint8)
        x, y, z = warped(rng, x, y, z)
        return cls(x=x, y=y, z=z, values=values, label=label, scanner=scanner)

    def fill(self, where: np.ndarray, tissue: Tissue) -> None:
        """Paint a tissue.

        Args:
            where: bool [slices, rows, columns].
        """
        self.values[where] = self.scanner.signal(tissue)

    def shade(self, rng: np.random.Generator) -> None:
        """Multiply with the slow unevenness of the coils."""
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        way = direction[0] * self.x + direction[1] * self.y + direction[2] * self.z
        wave = np.sin(2 * np.pi * way / rng.uniform(250, 400) + rng.uniform(0, 2 * np.pi))
        self.values *= np.exp(self.scanner.shading * wave)
