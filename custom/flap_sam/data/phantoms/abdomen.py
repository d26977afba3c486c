# SPDX-License-Identifier: Apache-2.0
"""A procedural abdomen without its kidneys: organs painted one over another on a grid in millimetres.

The origin lies in the middle of the trunk at the height of the kidneys.
"""

from dataclasses import dataclass

import numpy as np

from flap_sam.data.phantoms.body import Body, Point, warped
from flap_sam.data.phantoms.scanner import Grid

AIR, GAS, FAT, WATER, BONE, MARROW = -1000.0, -850.0, -100.0, 5.0, 420.0, 190.0  # HU


@dataclass
class Abdomen(Body):
    """The grid being painted, in Hounsfield units.

    Attributes:
        cavity: inside the muscles of the trunk, bool [slices, rows, columns].
        phase: how far the contrast agent has come, 0 for none to about 1.
    """

    cavity: np.ndarray
    phase: float

    def enhanced(self, plain: float, uptake: float) -> float:
        """The intensity of a tissue with contrast agent in it."""
        return plain + uptake * self.phase

    def fill(self, centre: Point, radii: Point, hu: float) -> None:
        """Paint an ellipsoid, as far as it lies inside the muscles."""
        self.values[self.inside(centre, radii) & self.cavity] = hu


def draw(rng: np.random.Generator, grid: Grid, phase: float) -> Abdomen:
    """Draw one patient but for the kidneys.

    Args:
        phase: see `Abdomen`.
    """
    x, y, z = warped(rng, grid.x, grid.y, grid.z)
    abdomen = Abdomen(
        x=x,
        y=y,
        z=z,
        values=np.full(grid.shape, AIR, np.float32),
        label=np.zeros(grid.shape, np.uint8),
        cavity=np.zeros(grid.shape, bool),
        phase=phase,
    )
    _trunk(abdomen, rng)
    _organs(abdomen, rng)
    _spine(abdomen, rng)
    return abdomen


def _trunk(abdomen: Abdomen, rng: np.random.Generator) -> None:
    """Skin, fat rim, muscle wall with ribs, and the fat of the cavity."""
    width, depth = rng.uniform(150, 178), rng.uniform(104, 124)
    rim, wall = rng.uniform(6, 22), rng.uniform(9, 14)
    depths = [
        np.sqrt(abdomen.distance((0, 0, 0), (width - inset, depth - inset, 1e6))) for inset in (0, rim, rim + wall)
    ]
    for inside, hu in zip(depths, (FAT, 55, FAT + 5), strict=True):
        abdomen.values[inside < 1] = hu
    abdomen.values[(depths[0] < 1) & (depths[0] > 0.98)] = 20
    abdomen.cavity = depths[2] < 1
    angle = np.arctan2(abdomen.y, np.abs(abdomen.x))
    slope = abdomen.z - 45 * angle + rng.uniform(0, 30)
    between = (depths[1] < 0.985) & (depths[2] > 1.02)
    abdomen.values[between & (np.cos(2 * np.pi * slope / 30) > 0.5) & (abdomen.z < 35) & (angle > -0.7)] = MARROW + 60


def _organs(abdomen: Abdomen, rng: np.random.Generator) -> None:
    """What is not to be segmented: liver, spleen, stomach, bowel and the great vessels."""

    def near(*point: float) -> Point:
        return tuple(np.add(point, rng.uniform(-8, 8, 3)))

    scale = rng.uniform(0.9, 1.1)
    abdomen.fill(near(-62, -22, -62), (88 * scale, 74 * scale, 92), abdomen.enhanced(55, 55))
    abdomen.fill(near(-78, -40, -5), (9, 14, 20), WATER + 5)
    abdomen.fill(near(92, 26, -62), (32 * scale, 46 * scale, 52), abdomen.enhanced(48, 75))
    abdomen.fill(near(42, -42, -50), (46, 34, 44), 30)
    abdomen.fill(near(42, -54, -50), (36, 18, 32), GAS)
    abdomen.fill(near(10, -12, -10), (52, 10, 12), abdomen.enhanced(40, 45))
    for _ in range(rng.integers(14, 22)):
        centre = rng.uniform((-105, -75, 5), (105, 5, 120))
        radius = rng.uniform(11, 20)
        abdomen.fill(tuple(centre), (radius * 1.5, radius, radius), abdomen.enhanced(35, 35))
        if rng.random() < 0.4:
            abdomen.fill(tuple(centre - (0, radius / 3, 0)), (radius, radius / 2, radius / 2), GAS)
    abdomen.fill(near(9, 24, 0), (10, 10, 1e4), abdomen.enhanced(40, 135))
    abdomen.fill(near(-18, 20, 0), (11, 9, 1e4), abdomen.enhanced(40, 85))


def _spine(abdomen: Abdomen, rng: np.random.Generator) -> None:
    """Vertebrae with discs between them, their processes and canal, and the muscles along them."""
    for side in (-1, 1):
        taper = np.clip((abdomen.z + 90) / 130, 0.3, 1.2)
        psoas = ((abdomen.x - side * 36) / (18 * taper)) ** 2 + ((abdomen.y - 55) / (20 * taper)) ** 2
        abdomen.values[(psoas < 1) & abdomen.cavity] = 60
        back = abdomen.distance((side * 36, 94, 0), (34, 20, 1e6))
        abdomen.values[(back < 1) & (abdomen.values > AIR)] = 58
    disc = np.cos(2 * np.pi * (abdomen.z + rng.uniform(0, 36)) / 36) > 0.8
    body = abdomen.distance((0, 58, 0), (24, 18, 1e6))
    process = abdomen.distance((0, 96, 0), (7, 24, 1e6)) < 1
    wings = abdomen.distance((0, 84, 0), (36, 7, 1e6)) < 1
    abdomen.values[(process | wings) & ~disc] = BONE - 100
    abdomen.values[body < 1] = np.where(disc, 85, np.where(body > 0.78, BONE, MARROW))[body < 1]
    abdomen.values[abdomen.distance((0, 82, 0), (9, 8, 1e6)) < 1] = 30
