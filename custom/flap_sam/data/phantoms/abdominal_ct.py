# SPDX-License-Identifier: Apache-2.0
"""Procedural abdominal CT in place of KiTS19.

The files, case names and sites are Fed-KiTS19's; the sites differ as hospitals do, in contrast phase, noise,
field of view, matrix and number of slices.
"""

from dataclasses import dataclass

import numpy as np

from flap_sam.data.phantoms import abdomen, kidney
from flap_sam.data.phantoms.phantom import Phantom
from flap_sam.data.phantoms.scanner import Grid, Scanner
from flap_sam.data.sources.kits19 import FED_KITS19, case_files, case_id

TRAIN_SLICES = {"A": 677, "B": 4093, "C": 3403, "D": 2144, "E": 1047, "F": 10938}  # of Fed-KiTS19
SLICES_DIVISOR = 40  # the phantom's cases have so many times fewer
HEIGHTS = (165, 195)  # mm
TUMOUR_SHARE = 0.7  # seen in about 0.6 of the cases: thick slices pass by the small ones


@dataclass(frozen=True, kw_only=True)
class CtScanner(Scanner):
    """A site's CT; its unit is HU.

    Attributes:
        phase: mean progress of the contrast agent, 0 none to about 1.
        spread: how much the phase varies between patients (standard deviation).
    """

    phase: float
    spread: float


def _slices(site: str) -> float:
    return TRAIN_SLICES[site] / len(FED_KITS19[site]["train"]) / SLICES_DIVISOR


SCANNERS = {
    "A": CtScanner(phase=0.80, spread=0.20, noise=20, grain=0.6, field=370, heights=HEIGHTS, slices=_slices("A")),
    "B": CtScanner(phase=0.93, spread=0.30, noise=26, grain=0.9, field=350, heights=HEIGHTS, slices=_slices("B")),
    "C": CtScanner(
        phase=1.12, spread=0.40, noise=34, grain=0.5, field=390, matrix=0.875, heights=HEIGHTS, slices=_slices("C")
    ),
    "D": CtScanner(phase=0.51, spread=0.15, noise=16, grain=1.2, field=345, heights=HEIGHTS, slices=_slices("D")),
    "E": CtScanner(
        phase=0.71, spread=0.20, noise=22, grain=0.7, field=400, matrix=1.125, heights=HEIGHTS, slices=_slices("E")
    ),
    "F": CtScanner(phase=0.91, spread=0.30, noise=28, grain=0.8, field=370, heights=HEIGHTS, slices=_slices("F")),
}


def paint(rng: np.random.Generator, scanner: CtScanner, grid: Grid) -> abdomen.Abdomen:
    """An abdomen with two kidneys, one of them mostly with a tumour."""
    phase = max(0.1, rng.normal(scanner.phase, scanner.spread))
    body = abdomen.draw(rng, grid, phase)
    ill = rng.integers(2) if rng.random() < TUMOUR_SHARE else None
    for index, side in enumerate((-1, 1)):
        kidney.paint_kidney(body, rng, side, with_tumour=index == ill)
    return body


ABDOMINAL_CT = Phantom(
    scanners=SCANNERS,
    cases={
        site: tuple(case_id(number) for split in FED_KITS19[site].values() for number in split) for site in SCANNERS
    },
    files=case_files,
    paint=paint,
    limits=(-1024, 3071),
)
