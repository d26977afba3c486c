# SPDX-License-Identifier: Apache-2.0
"""A procedural head in T1: scalp, skull, fluid and the brain in it, above a face and a neck.

The origin lies in the middle of the brain.
"""

import numpy as np

from flap_sam.data.phantoms.body import Point
from flap_sam.data.phantoms.mr import AIR, BONE, FAT, MARROW, MUSCLE, WATER, MrBody, MrScanner, Tissue
from flap_sam.data.phantoms.scanner import Grid

GREY, WHITE = Tissue(0.82, 950, 95), Tissue(0.70, 600, 80)
BRAIN = 1
CENTRE: Point = (0, 0, -8)  # of the vault
SKIN: Point = (78, 98, 88)  # its radii
SCALP, SKULL, FLUID = 6, 14, 18  # mm below the skin at which each ends


def draw(rng: np.random.Generator, scanner: MrScanner, grid: Grid) -> MrBody:
    """Draw one patient."""
    head = MrBody.on(rng, scanner, grid, (0.92, 1.06))
    vault = head.z < 38 + 0.35 * head.y  # above the base of the skull
    _outside(head, vault)
    _face(head, rng)
    _neck(head)
    _brain(head, rng, vault)
    head.shade(rng)
    return head


def _below_skin(head: MrBody, depth: float) -> np.ndarray:
    """Squared distance from the middle of the vault in units of its radii, so many mm below the skin."""
    return head.distance(CENTRE, tuple(np.subtract(SKIN, depth)))


def _outside(head: MrBody, vault: np.ndarray) -> None:
    """Skin and muscles with fat on them, the skull with its marrow, and the fluid in it."""
    cranium = _below_skin(head, 0)
    face = head.distance((0, -36, 56), (58, 66, 76))
    neck = np.where(head.z > 20, head.distance((0, 22, 0), (58, 62, 1e6)), np.inf)
    outer = np.minimum(np.minimum(cranium, face), neck)
    head.fill(outer < 1, FAT)
    head.fill(outer < 0.86, MUSCLE)
    inner = _below_skin(head, SCALP) < 1
    head.fill((cranium < 1) & vault, FAT)
    head.fill(inner & (head.z < 45 + 0.35 * head.y), BONE)
    head.fill(inner & vault & (_below_skin(head, 8.5) < 1) & (_below_skin(head, 11) > 1), MARROW)
    head.fill((_below_skin(head, SKULL) < 1) & vault, WATER)


def _face(head: MrBody, rng: np.random.Generator) -> None:
    """Eyes in their fat, and the air of nose, sinuses and throat; all of it below the base of the skull."""
    for side in (-1, 1):
        head.fill(head.inside((side * 31, -62, 40), (19, 21, 17)), FAT)
        head.fill(head.inside((side * 31, -69, 40), (12, 12, 12)), WATER)
        head.fill(head.inside((side * 28, -52, 68), (14, 17, rng.uniform(10, 17))), AIR)
        head.fill(head.inside((side * 52, 24, 52), (12, 16, 14)), BONE)
    head.fill(head.inside((0, -62, 62), (15, 24, 24)) & (np.cos(head.x * 0.9) > -0.2), AIR)
    head.fill(head.inside((0, -16, 88), (10, 9, 32)), AIR)


def _neck(head: MrBody) -> None:
    """Vertebrae with the cord, which is no brain, in its canal."""
    low = head.z > 60
    body = head.distance((0, 12, 0), (21, 13, 1e6))
    head.fill(low & (body < 1), BONE)
    head.fill(low & (body < 0.7), MARROW)
    head.fill(low & head.inside((0, 32, 0), (12, 10, 1e6)), WATER)
    head.fill(low & head.inside((0, 32, 0), (7, 6, 1e6)), WHITE)


def _brain(head: MrBody, rng: np.random.Generator, vault: np.ndarray) -> None:
    """Cerebrum, cerebellum and brain stem; the label takes in the furrows and the ventricles, as brain masks do."""
    depth = _below_skin(head, FLUID + rng.uniform(0, 2))
    cerebellum = head.distance((0, 48, 38), (50, 34, 26))
    stem = head.inside((0, 22, 44), (14, 13, 24))
    cerebrum = (depth < 1) & (head.z < 34 + 0.35 * head.y)
    small = (cerebellum < 1) & (_below_skin(head, FLUID) < 1) & vault
    _cerebrum(head, rng, cerebrum, depth)
    head.fill((cerebellum < 1.12) & cerebrum, WATER)
    head.fill(small, GREY)
    head.fill(small & (np.cos(18 * np.sqrt(cerebellum)) > 0.3), WHITE)
    head.fill(stem, WHITE)
    _ventricles(head, rng)
    head.label[cerebrum | small | stem] = BRAIN


def _cerebrum(head: MrBody, rng: np.random.Generator, cerebrum: np.ndarray, depth: np.ndarray) -> None:
    """White matter below a folded grey cortex, with fluid in the furrows and between the halves."""
    angle, turn = np.arctan2(head.y, head.x), rng.uniform(0, 2 * np.pi, 2)
    folds = np.cos(15 * angle + 2 * np.cos(head.z / 9 + turn[0])) * np.cos(head.z / 12 + turn[1])
    head.fill(cerebrum, WHITE)
    head.fill(cerebrum & (depth > 0.72 + 0.12 * folds), GREY)
    head.fill(cerebrum & (depth > 0.84) & (folds > rng.uniform(0.6, 0.8)), WATER)
    head.fill(cerebrum & (np.abs(head.x) < 1.7) & (depth > 0.5) & (head.z < 10), WATER)


def _ventricles(head: MrBody, rng: np.random.Generator) -> None:
    """Fluid in the middle, more of it in some patients, between the grey nuclei."""
    wide = rng.uniform(0.7, 1.7)
    for side in (-1, 1):
        head.fill(head.inside((side * 18, 4, 2), (10, 16, 12)), GREY)
        across = side * head.x - 9 - 0.12 * head.y  # they part towards the back
        lateral = (across / (5 * wide)) ** 2 + ((head.y - 2) / 32) ** 2 + ((head.z + 16) / (9 * wide)) ** 2
        head.fill(lateral < 1, WATER)
    head.fill(head.inside((0, 6, 5), (2 * wide, 13, 10)), WATER)
