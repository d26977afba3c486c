# SPDX-License-Identifier: Apache-2.0
"""A procedural pelvis of a man in T2: the prostate between bladder and rectum, in fat, muscle and bones.

The origin lies in the middle of the prostate.
"""

from dataclasses import dataclass

import numpy as np

from flap_sam.data.phantoms.body import Point
from flap_sam.data.phantoms.mr import AIR, BONE, FAT, MARROW, MUSCLE, WATER, MrBody, MrScanner, Tissue
from flap_sam.data.phantoms.scanner import Grid

RIM = Tissue(0.9, 1500, 170)  # the peripheral zone, full of water
CORE = Tissue(0.85, 1300, 80)  # the transition zone
NODULE, LESION, STOOL = Tissue(0.85, 1400, 120), Tissue(0.8, 1200, 55), Tissue(0.6, 800, 60)
PROSTATE = 1
LESION_SHARE = 0.4


@dataclass(frozen=True, kw_only=True)
class PelvicScanner(MrScanner):
    """A site's MR of the pelvis.

    Attributes:
        coil: how much brighter a coil in the rectum makes what lies beside it; 0 where there is none.
    """

    coil: float = 0.0


def draw(rng: np.random.Generator, scanner: PelvicScanner, grid: Grid) -> MrBody:
    """Draw one patient."""
    pelvis = MrBody.on(rng, scanner, grid, (0.92, 1.08))
    _trunk(pelvis, rng)
    _bones(pelvis)
    _bladder(pelvis, rng)
    _rectum(pelvis, rng, coil=scanner.coil > 0)
    _prostate(pelvis, rng)
    pelvis.shade(rng)
    near = np.exp(-pelvis.distance((0, 36, 0), (45, 45, 60)))
    pelvis.values *= 1 + scanner.coil * near
    return pelvis


def _trunk(pelvis: MrBody, rng: np.random.Generator) -> None:
    """Fat, the muscles of seat and hips, and those that line the cavity."""
    rim = rng.uniform(12, 24)
    pelvis.fill(pelvis.inside((0, 5, 0), (178, 116, 1e6)), FAT)
    pelvis.fill(pelvis.inside((0, 5, 0), (178 - rim, 116 - rim, 1e6)), MUSCLE)
    pelvis.fill(pelvis.inside((0, 8, 0), (72, 84, 1e6)), FAT)
    for side in (-1, 1):
        pelvis.fill(pelvis.inside((side * 56, 2, 5), (12, 40, 60)), MUSCLE)
        pelvis.fill(pelvis.inside((side * 30, -78, 0), (28, 9, 1e6)), MUSCLE)
        sling = pelvis.distance((side * 4, 14, 22), (36, 48, 42))
        pelvis.fill((sling < 1) & (sling > 0.8) & (side * pelvis.x > 0) & (pelvis.z > 0), MUSCLE)
    for _ in range(rng.integers(20, 30)):  # vessels around the prostate and along the walls
        x, y, z = rng.uniform((-46, -40, -60), (46, 50, 60))
        pelvis.fill(pelvis.inside((x, y, z), (2.5, 2.5, 12)), (WATER, MUSCLE)[rng.integers(2)])


def _bone(pelvis: MrBody, centre: Point, radii: Point) -> None:
    """Marrow in a dark rim."""
    depth = pelvis.distance(centre, radii)
    pelvis.fill(depth < 1, BONE)
    pelvis.fill(depth < 0.78, MARROW)


def _bones(pelvis: MrBody) -> None:
    """Hips with their sockets, the two pubic bones, and the sacrum."""
    for side in (-1, 1):
        _bone(pelvis, (side * 96, 2, -20), (27, 27, 27))
        _bone(pelvis, (side * 72, 10, -30), (9, 44, 60))
        _bone(pelvis, (side * 66, 40, 45), (14, 17, 34))
        _bone(pelvis, (side * 22, -52, 4), (21, 13, 24))
    _bone(pelvis, (0, 84, -30), (34, 11, 40))


def _bladder(pelvis: MrBody, rng: np.random.Generator) -> None:
    """Urine in a dark wall, above the prostate, and behind it the vesicles."""
    full = rng.uniform(0.75, 1.2)
    centre, radii = (rng.uniform(-4, 4), -12, -27 - 32 * full), (42 * full, 34 * full, 32 * full)
    pelvis.fill(pelvis.inside(centre, tuple(np.add(radii, 4))), MUSCLE)
    pelvis.fill(pelvis.inside(centre, radii), WATER)
    for side in (-1, 1):
        vesicle = pelvis.inside((side * 17, 14, -33), (17, 7, 9))
        pelvis.fill(vesicle, NODULE)
        pelvis.fill(vesicle & (np.cos(1.3 * pelvis.x) > 0.4), WATER)


def _rectum(pelvis: MrBody, rng: np.random.Generator, coil: bool) -> None:
    """Its wall, with gas, stool or a coil in it."""
    width, depth = rng.uniform((20, 15), (23, 18)) if coil else rng.uniform((13, 10), (19, 15))
    back = 23 + depth + 0.004 * pelvis.z**2  # the line that its middle follows
    bend = ((pelvis.x - rng.uniform(-4, 4)) / width) ** 2 + ((pelvis.y - back) / depth) ** 2
    pelvis.fill(bend < 1, MUSCLE)
    pelvis.fill(bend < 0.62, AIR if coil or rng.random() < 0.4 else STOOL)


def _prostate(pelvis: MrBody, rng: np.random.Generator) -> None:
    """A bright rim around a darker core with nodules, in a thin dark capsule."""
    radii = np.array((27, 20, 24)) * rng.lognormal(0, 0.08) * rng.uniform(0.92, 1.08, 3)
    hollow = 3 * np.exp(-((pelvis.x / 9) ** 2)) * (pelvis.y > 0)  # where it lies on the rectum
    depth = (pelvis.x / radii[0]) ** 2 + ((pelvis.y + hollow) / radii[1]) ** 2 + (pelvis.z / radii[2]) ** 2
    gland = depth < 1
    core = gland & pelvis.inside((0, -0.22 * radii[1], -0.1 * radii[2]), tuple(radii * (0.72, 0.68, 0.8)))
    pelvis.fill(gland, MUSCLE)
    pelvis.fill(depth < 0.9, RIM)
    pelvis.fill(core, CORE)
    for _ in range(rng.integers(3, 8)):
        middle, size = rng.uniform((-0.5, -0.6, -0.6), (0.5, 0.2, 0.5)) * radii, rng.uniform(3, 7)
        pelvis.fill(core & pelvis.inside(tuple(middle), (size, size, size)), (NODULE, LESION)[rng.integers(2)])
    pelvis.fill(gland & pelvis.inside((0, -2, 0), (2.5, 2.5, 1e6)), WATER)
    if rng.random() < LESION_SHARE:
        spot = (rng.choice((-1, 1)) * 0.6 * radii[0], 0.45 * radii[1], rng.uniform(-8, 8))
        pelvis.fill((depth < 0.9) & pelvis.inside(spot, (7, 5, 7)), LESION)
    pelvis.label[gland] = PROSTATE
