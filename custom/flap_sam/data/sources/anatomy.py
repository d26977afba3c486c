# SPDX-License-Identifier: Apache-2.0
"""A procedural abdomen: organs painted one over another on a grid in millimetres.

Coordinates are the patient's: x to the left, y to the back, z to the feet, with the origin in the middle of the
trunk at the height of the kidneys. Organs are ellipsoids in a gently warped space, so none is a true one.
"""

from dataclasses import dataclass

import numpy as np

AIR, GAS, FAT, WATER, BONE, MARROW = -1000.0, -850.0, -100.0, 5.0, 420.0, 190.0
KIDNEY, TUMOUR = 1, 2
ANNOTATED = 1.08  # outlines drawn by hand take in a little of the fat around
TUMOUR_SHARE = 0.7  # seen in about 0.6 of the cases: thick slices pass by the small ones
CYST_SHARE = 0.2

Point = tuple[float, float, float]


@dataclass
class Abdomen:
    """The grid being painted.

    Attributes:
        x, y, z: warped coordinates in millimetres, float32 [slices, rows, columns].
        hu: intensities in Hounsfield units, float32, same shape.
        label: 0 background, 1 kidney, 2 tumour, uint8, same shape.
        cavity: inside the muscles of the trunk, bool, same shape.
        phase: how far the contrast agent has come, 0 for none to about 1.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    hu: np.ndarray
    label: np.ndarray
    cavity: np.ndarray
    phase: float

    def enhanced(self, plain: float, uptake: float) -> float:
        """The intensity of a tissue with contrast agent in it."""
        return plain + uptake * self.phase

    def distance(self, centre: Point, radii: Point) -> np.ndarray:
        """Squared distance from `centre` in units of the radii: below 1 inside the ellipsoid."""
        (x, y, z), (a, b, c) = centre, radii
        return ((self.x - x) / a) ** 2 + ((self.y - y) / b) ** 2 + ((self.z - z) / c) ** 2

    def fill(self, centre: Point, radii: Point, hu: float) -> None:
        """Paint an ellipsoid, as far as it lies inside the muscles."""
        self.hu[(self.distance(centre, radii) < 1) & self.cavity] = hu


def draw(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, z: np.ndarray, phase: float) -> Abdomen:
    """Draw one patient.

    Args:
        x, y, z: voxel centres in millimetres, broadcastable to [slices, rows, columns].
        phase: see `Abdomen`.
    """
    shape = np.broadcast_shapes(x.shape, y.shape, z.shape)
    warped_x, warped_y, warped_z = _warped(rng, x, y, z)
    abdomen = Abdomen(
        warped_x,
        warped_y,
        warped_z,
        hu=np.full(shape, AIR, np.float32),
        label=np.zeros(shape, np.uint8),
        cavity=np.zeros(shape, bool),
        phase=phase,
    )
    _trunk(abdomen, rng)
    _organs(abdomen, rng)
    _spine(abdomen, rng)
    ill = rng.integers(2) if rng.random() < TUMOUR_SHARE else None
    for index, side in enumerate((-1, 1)):
        _kidney(abdomen, rng, side, with_tumour=index == ill)
    return abdomen


def _warped(rng: np.random.Generator, *axes: np.ndarray) -> list[np.ndarray]:
    """Every coordinate shifted by a slow wave along the two others."""
    warped = []
    for number, axis in enumerate(axes):
        one, other = axes[number - 1], axes[number - 2]
        phases, lengths = rng.uniform(0, 2 * np.pi, 2), rng.uniform(70, 130, 2)
        wave = np.sin(2 * np.pi * one / lengths[0] + phases[0]) + np.sin(2 * np.pi * other / lengths[1] + phases[1])
        warped.append((axis + 2.5 * wave).astype(np.float32))
    return warped


def _trunk(abdomen: Abdomen, rng: np.random.Generator) -> None:
    """Skin, fat rim, muscle wall with ribs, and the fat of the cavity."""
    width, depth = rng.uniform(150, 178), rng.uniform(104, 124)
    rim, wall = rng.uniform(6, 22), rng.uniform(9, 14)
    depths = [
        np.sqrt(abdomen.distance((0, 0, 0), (width - inset, depth - inset, 1e6))) for inset in (0, rim, rim + wall)
    ]
    for inside, hu in zip(depths, (FAT, 55, FAT + 5), strict=True):
        abdomen.hu[inside < 1] = hu
    abdomen.hu[(depths[0] < 1) & (depths[0] > 0.98)] = 20
    abdomen.cavity = depths[2] < 1
    angle = np.arctan2(abdomen.y, np.abs(abdomen.x))
    slope = abdomen.z - 45 * angle + rng.uniform(0, 30)
    between = (depths[1] < 0.985) & (depths[2] > 1.02)
    abdomen.hu[between & (np.cos(2 * np.pi * slope / 30) > 0.5) & (abdomen.z < 35) & (angle > -0.7)] = MARROW + 60


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
        abdomen.hu[(psoas < 1) & abdomen.cavity] = 60
        back = abdomen.distance((side * 36, 94, 0), (34, 20, 1e6))
        abdomen.hu[(back < 1) & (abdomen.hu > AIR)] = 58
    disc = np.cos(2 * np.pi * (abdomen.z + rng.uniform(0, 36)) / 36) > 0.8
    body = abdomen.distance((0, 58, 0), (24, 18, 1e6))
    process = abdomen.distance((0, 96, 0), (7, 24, 1e6)) < 1
    wings = abdomen.distance((0, 84, 0), (36, 7, 1e6)) < 1
    abdomen.hu[(process | wings) & ~disc] = BONE - 100
    abdomen.hu[body < 1] = np.where(disc, 85, np.where(body > 0.78, BONE, MARROW))[body < 1]
    abdomen.hu[abdomen.distance((0, 82, 0), (9, 8, 1e6)) < 1] = 30


@dataclass
class Kidney:
    """A kidney's own coordinates in millimetres: u away from its hilum, v across, w towards the lower pole.

    The hilum looks inwards and a little forwards, the lower pole leans outwards, and both poles bend inwards.
    """

    u: np.ndarray
    v: np.ndarray
    w: np.ndarray
    radii: Point

    @classmethod
    def place(cls, abdomen: Abdomen, rng: np.random.Generator, side: int) -> "Kidney":
        """A random kidney on the patient's right (-1), where it lies a little lower, or left (1)."""
        centre = np.array((side * 70, 34, -6 * side)) + rng.uniform(-8, 8, 3)
        radii = rng.uniform((27, 24, 48), (35, 31, 62))
        turn, tilt, bend = rng.uniform((0.2, 0.1, 5), (0.7, 0.35, 9))
        x, y, z = side * (abdomen.x - centre[0]), abdomen.y - centre[1], abdomen.z - centre[2]
        outwards, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        u, w = outwards * np.cos(tilt) - z * np.sin(tilt), z * np.cos(tilt) + outwards * np.sin(tilt)
        return cls(u + bend * ((w / radii[2]) ** 2 - 0.3), across, w, tuple(radii))

    def distance(self, centre: Point = (0, 0, 0), size: Point = (1, 1, 1)) -> np.ndarray:
        """Squared distance as `Abdomen.distance` gives it, with centre and size in units of the radii."""
        axes = zip((self.u, self.v, self.w), self.radii, centre, size, strict=True)
        along_u, along_v, along_w = (((axis / radius - at) / extent) ** 2 for axis, radius, at, extent in axes)
        return along_u + along_v + along_w

    def ball(self, centre: Point, millimetres: float | np.ndarray) -> np.ndarray:
        """`distance` from a ball, or nearly one, with radii in millimetres."""
        return self.distance(centre, tuple(millimetres / np.array(self.radii)))


def _kidney(abdomen: Abdomen, rng: np.random.Generator, side: int, with_tumour: bool) -> None:
    """One kidney in its fat: bright cortex with columns between the pyramids, and a sinus with its pelvis."""
    kidney = Kidney.place(abdomen, rng, side)
    depth = kidney.distance()
    abdomen.hu[(depth < 1.6) & abdomen.cavity & (abdomen.hu < 150) & (np.abs(abdomen.x) > 40)] = FAT
    sinus = kidney.distance((-0.8, 0, 0), (0.75, 0.5, 0.5)) < 1
    flesh = (depth < 1) & ~sinus
    columns = np.cos(2 * np.pi * kidney.w / 24) * np.cos(2.5 * np.arctan2(kidney.v, kidney.u)) > 0.55
    cortex, medulla = abdomen.enhanced(35, 170), abdomen.enhanced(30, 70)
    abdomen.hu[flesh] = np.where((depth > 0.6) | columns, cortex, medulla)[flesh]
    abdomen.hu[kidney.distance((-0.75, 0, 0.1), (0.4, 0.2, 0.25)) < 1] = WATER + 10
    abdomen.hu[kidney.distance((-1.35, 0, -0.1), (0.8, 0.14, 0.11)) < 1] = abdomen.enhanced(40, 95)
    abdomen.label[(depth < ANNOTATED) & ~sinus] = KIDNEY
    if rng.random() < CYST_SHARE:
        cyst = kidney.ball(_towards(rng, 0.8), rng.uniform(5, 10)) < 1
        abdomen.hu[cyst & flesh] = WATER  # KiTS19 counts cysts as kidney
    if with_tumour:
        _tumour(abdomen, rng, kidney)


def _tumour(abdomen: Abdomen, rng: np.random.Generator, kidney: Kidney) -> None:
    """A tumour on the kidney's surface, more or less outside it, often with a dead core."""
    radius = min(45, 16 * rng.lognormal(0.25, 0.35))
    growth = kidney.ball(_towards(rng, rng.uniform(0.7, 1.05)), radius * rng.uniform(0.85, 1.15, 3))
    tumour, core = (growth < 1) & (abdomen.hu > AIR), growth < rng.uniform(0, 0.5)
    abdomen.hu[tumour] = np.where(core, abdomen.enhanced(18, 5), abdomen.enhanced(32, 40))[tumour]
    abdomen.label[tumour] = TUMOUR


def _towards(rng: np.random.Generator, reach: float) -> Point:
    """A point away from the hilum, `reach` times as far out as the kidney's surface, in units of its radii."""
    angle, height = rng.uniform(-1.9, 1.9), rng.uniform(-0.55, 0.55)
    girth = reach * np.sqrt(1 - height**2)
    return girth * np.cos(angle), girth * np.sin(angle), height
