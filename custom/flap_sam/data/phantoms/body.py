# SPDX-License-Identifier: Apache-2.0
"""What every anatomy is painted on: a patient's grid in millimetres, gently warped, so that no ellipsoid is a true one.

Coordinates are the patient's: x to the left, y to the back, z to the feet.
"""

from dataclasses import dataclass

import numpy as np

Point = tuple[float, float, float]


@dataclass
class Body:
    """The grid being painted.

    Attributes:
        x, y, z: warped coordinates in millimetres, float32 [slices, rows, columns].
        values: intensities, float32, same shape.
        label: 0 background, otherwise a class, uint8, same shape.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    values: np.ndarray
    label: np.ndarray

    def distance(self, centre: Point, radii: Point) -> np.ndarray:
        """Squared distance from `centre` in units of the radii: below 1 inside the ellipsoid."""
        (x, y, z), (a, b, c) = centre, radii
        return ((self.x - x) / a) ** 2 + ((self.y - y) / b) ** 2 + ((self.z - z) / c) ** 2

    def inside(self, centre: Point, radii: Point) -> np.ndarray:
        """Whether a voxel lies in the ellipsoid, bool [slices, rows, columns]."""
        return self.distance(centre, radii) < 1


def warped(rng: np.random.Generator, *axes: np.ndarray) -> list[np.ndarray]:
    """Every coordinate shifted by a slow wave along the two others."""
    shifted = []
    for number, axis in enumerate(axes):
        one, other = axes[number - 1], axes[number - 2]
        phases, lengths = rng.uniform(0, 2 * np.pi, 2), rng.uniform(70, 130, 2)
        wave = np.sin(2 * np.pi * one / lengths[0] + phases[0]) + np.sin(2 * np.pi * other / lengths[1] + phases[1])
        shifted.append((axis + 2.5 * wave).astype(np.float32))
    return shifted
