# SPDX-License-Identifier: Apache-2.0
"""Procedural T1 MR of the head in place of IXI.

The files, names and sites are IXI-Tiny's and the split is Fed-IXI's, with a twelfth of its cases; the sites differ in
field strength and with it in contrast, coils, noise, field of view, matrix and the axes of their files. As in IXI-Tiny
the first axis of a file runs through the axial slices.
"""

from pathlib import Path

from flap_sam.data.phantoms import head
from flap_sam.data.phantoms.mr import LIMITS, MrScanner
from flap_sam.data.phantoms.phantom import Phantom
from flap_sam.data.sources.ixi import FED_IXI_TEST

CASES = {"Guys": (20, 5), "HH": (12, 3), "IOP": (5, 2)}  # to train, to test
FIRST = 701  # participant to train; IXI itself has none of so high a number

SCANNERS = {
    "Guys": MrScanner(
        repetition=450, echo=10, gain=1000, shading=0.15, noise=18, grain=0.6, field=240, heights=(150, 175), slices=12,
        axes="SRA",
    ),
    "HH": MrScanner(
        repetition=620, echo=8, gain=700, shading=0.32, noise=10, grain=0.8, field=230, heights=(155, 180), slices=13,
        axes="ILA", matrix=1.125,
    ),
    "IOP": MrScanner(
        repetition=380, echo=14, gain=1500, shading=0.22, noise=38, grain=0.5, field=256, heights=(145, 170), slices=11,
        axes="SPL", matrix=0.875,
    ),
}  # fmt: skip


def _cases(site: str) -> tuple[str, ...]:
    train, test = CASES[site]
    participants = (*range(FIRST, FIRST + train), *FED_IXI_TEST[site][:test])
    return tuple(f"IXI{number:03d}-{site}-{number:04d}" for number in participants)


def case_files(folder: Path, case: str) -> tuple[Path, Path]:
    """The image and label file of a case below a folder in the layout of `ixi_tiny`."""
    return folder / "image" / f"{case}_image.nii.gz", folder / "label" / f"{case}_label.nii.gz"


HEAD_MR = Phantom(
    scanners=SCANNERS,
    cases={site: _cases(site) for site in SCANNERS},
    files=case_files,
    paint=head.draw,
    limits=LIMITS,
)
