# SPDX-License-Identifier: Apache-2.0
"""A kidney in its fat, with or without a tumour."""

from dataclasses import dataclass

import numpy as np

from flap_sam.data.phantoms.abdomen import AIR, FAT, WATER, Abdomen
from flap_sam.data.phantoms.body import Point

KIDNEY, TUMOUR = 1, 2
ANNOTATED = 1.08  # outlines drawn by hand take in a little of the fat around
CYST_SHARE = 0.2


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
        """Squared distance as `Body.distance` gives it, with centre and size in units of the radii."""
        axes = zip((self.u, self.v, self.w), self.radii, centre, size, strict=True)
        along_u, along_v, along_w = (((axis / radius - at) / extent) ** 2 for axis, radius, at, extent in axes)
        return along_u + along_v + along_w

    def ball(self, centre: Point, millimetres: float | np.ndarray) -> np.ndarray:
        """`distance` from a ball, or nearly one, with radii in millimetres."""
        return self.distance(centre, tuple(millimetres / np.array(self.radii)))


def paint_kidney(abdomen: Abdomen, rng: np.random.Generator, side: int, with_tumour: bool) -> None:
    """One kidney in its fat: bright cortex with columns between the pyramids, and a sinus with its pelvis."""
    kidney = Kidney.place(abdomen, rng, side)
    depth = kidney.distance()
    abdomen.values[(depth < 1.6) & abdomen.cavity & (abdomen.values < 150) & (np.abs(abdomen.x) > 40)] = FAT
    sinus = kidney.distance((-0.8, 0, 0), (0.75, 0.5, 0.5)) < 1
    flesh = (depth < 1) & ~sinus
    columns = np.cos(2 * np.pi * kidney.w / 24) * np.cos(2.5 * np.arctan2(kidney.v, kidney.u)) > 0.55
    cortex, medulla = abdomen.enhanced(35, 170), abdomen.enhanced(30, 70)
    abdomen.values[flesh] = np.where((depth > 0.6) | columns, cortex, medulla)[flesh]
    abdomen.values[kidney.distance((-0.75, 0, 0.1), (0.4, 0.2, 0.25)) < 1] = WATER + 10
    abdomen.values[kidney.distance((-1.35, 0, -0.1), (0.8, 0.14, 0.11)) < 1] = abdomen.enhanced(40, 95)
    abdomen.label[(depth < ANNOTATED) & ~sinus] = KIDNEY
    if rng.random() < CYST_SHARE:
        cyst = kidney.ball(_towards(rng, 0.8), rng.uniform(5, 10)) < 1
        abdomen.values[cyst & flesh] = WATER  # KiTS19 counts cysts as kidney
    if with_tumour:
        _tumour(abdomen, rng, kidney)


def _tumour(abdomen: Abdomen, rng: np.random.Generator, kidney: Kidney) -> None:
    """A tumour on the kidney's surface, more or less outside it, often with a dead core."""
    radius = min(45, 16 * rng.lognormal(0.25, 0.35))
    growth = kidney.ball(_towards(rng, rng.uniform(0.7, 1.05)), radius * rng.uniform(0.85, 1.15, 3))
    tumour, core = (growth < 1) & (abdomen.values > AIR), growth < rng.uniform(0, 0.5)
    abdomen.values[tumour] = np.where(core, abdomen.enhanced(18, 5), abdomen.enhanced(32, 40))[tumour]
    abdomen.label[tumour] = TUMOUR


def _towards(rng: np.random.Generator, reach: float) -> Point:
    """A point away from the hilum, `reach` times as far out as the kidney's surface, in units of its radii."""
    angle, height = rng.uniform(-1.9, 1.9), rng.uniform(-0.55, 0.55)
    girth = reach * np.sqrt(1 - height**2)
    return girth * np.cos(angle), girth * np.sin(angle), height
