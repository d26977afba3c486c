# SPDX-License-Identifier: Apache-2.0
"""Procedural T2 MR of the pelvis in place of the prostate scans of six hospitals.

The files, names and sites are those of the data set, with half of its cases; the sites differ in contrast, noise, field
of view, matrix, number of slices and the axes of their files, and as in the data set three of them use a coil in the
rectum. The last axis of a file runs through the axial slices.
"""

from pathlib import Path

from flap_sam.data.phantoms import pelvis
from flap_sam.data.phantoms.mr import LIMITS
from flap_sam.data.phantoms.pelvis import PelvicScanner
from flap_sam.data.phantoms.phantom import Phantom
from flap_sam.data.sources.prostate import FOLDERS

NUMBERS = {
    "A": range(15),
    "B": range(15),
    "C": range(10),
    "D": (1, *range(25, 33)),
    "E": range(8),
    "F": range(38, 47),
}  # of the cases; those that the data set's split names are to test

SCANNERS = {
    "A": PelvicScanner(
        repetition=4000, echo=100, gain=1000, shading=0.15, noise=30, grain=0.6, field=210, heights=(60, 74), slices=8,
        axes="LPS",
    ),
    "B": PelvicScanner(
        repetition=3500, echo=110, gain=1300, shading=0.20, noise=55, grain=0.7, field=170, heights=(64, 76), slices=8,
        axes="LPS", coil=1.2,
    ),
    "C": PelvicScanner(
        repetition=4500, echo=95, gain=600, shading=0.25, noise=14, grain=0.9, field=220, heights=(62, 78), slices=9,
        axes="RAS", matrix=1.125,
    ),
    "D": PelvicScanner(
        repetition=3200, echo=90, gain=1600, shading=0.12, noise=60, grain=0.5, field=225, heights=(62, 78), slices=8,
        axes="LPS", matrix=0.875,
    ),
    "E": PelvicScanner(
        repetition=5000, echo=115, gain=900, shading=0.22, noise=22, grain=0.6, field=160, heights=(62, 74), slices=9,
        axes="LPI", coil=0.9,
    ),
    "F": PelvicScanner(
        repetition=3000, echo=105, gain=1100, shading=0.20, noise=46, grain=0.8, field=180, heights=(66, 78), slices=8,
        axes="LPS", coil=1.0,
    ),
}  # fmt: skip


def _cases(site: str) -> tuple[str, ...]:
    return tuple(f"{FOLDERS[site][0]}/Case{number:02d}" for number in NUMBERS[site])


def case_files(folder: Path, case: str) -> tuple[Path, Path]:
    """The image and label file of a case, which is named with its site's folder."""
    ending = "_Segmentation" if case.startswith("BMC/") else "_segmentation"
    return folder / f"{case}.nii.gz", folder / f"{case}{ending}.nii.gz"


PELVIS_MR = Phantom(
    scanners=SCANNERS,
    cases={site: _cases(site) for site in SCANNERS},
    files=case_files,
    paint=pelvis.draw,
    limits=LIMITS,
)
