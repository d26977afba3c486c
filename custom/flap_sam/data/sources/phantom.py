# SPDX-License-Identifier: Apache-2.0
"""Procedural abdominal CT in place of KiTS19, for demonstrations and tests without patients.

The files, case names and sites are Fed-KiTS19's; the sites differ as hospitals do, in contrast phase, noise,
field of view, matrix and number of slices.
"""

import gzip
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from rich.progress import Progress

from flap_sam.data.sources import anatomy
from flap_sam.data.sources.kits19 import FED_KITS19, case_files, case_id
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing

TRAIN_SLICES = {"A": 677, "B": 4093, "C": 3403, "D": 2144, "E": 1047, "F": 10938}  # of Fed-KiTS19


@dataclass(frozen=True)
class PhantomSize:
    """How large the phantom is.

    Attributes:
        matrix: rows and columns of a slice, at most sites.
        slices_divisor: by how much the cases have fewer slices than Fed-KiTS19's.
        minimum_slices: no case has fewer.
    """

    matrix: int = 128
    slices_divisor: float = 40.0
    minimum_slices: int = 4


@dataclass(frozen=True)
class Scanner:
    """How a site images its patients.

    Attributes:
        phase: mean progress of the contrast agent, 0 none to about 1.
        spread: how much the phase varies between patients (standard deviation).
        noise: standard deviation in HU.
        grain: size of the noise's grain, in pixels.
        field: side of the field of view in mm.
        matrix: rows and columns in units of `PhantomSize.matrix`.
    """

    phase: float
    spread: float
    noise: float
    grain: float
    field: float
    matrix: float = 1.0


SCANNERS = {
    "A": Scanner(phase=0.80, spread=0.20, noise=20, grain=0.6, field=370),
    "B": Scanner(phase=0.93, spread=0.30, noise=26, grain=0.9, field=350),
    "C": Scanner(phase=1.12, spread=0.40, noise=34, grain=0.5, field=390, matrix=0.875),
    "D": Scanner(phase=0.51, spread=0.15, noise=16, grain=1.2, field=345),
    "E": Scanner(phase=0.71, spread=0.20, noise=22, grain=0.7, field=400, matrix=1.125),
    "F": Scanner(phase=0.91, spread=0.30, noise=28, grain=0.8, field=370),
}


def generate(
    folder: Path,
    sites: Iterable[str] = tuple(FED_KITS19),
    seed: int = 0,
    size: PhantomSize = PhantomSize(),
    progress: Progress | None = None,
) -> None:
    """Draw the sites' cases into a folder in the KiTS19 layout, leaving alone what is there.

    A case depends on the seed, its name and the size alone, to the byte.

    Raises:
        FlapSamError: a site that Fed-KiTS19 does not have.
    """
    for site in sites:
        if site not in FED_KITS19:
            raise FlapSamError(f"The phantom has no site {site!r}, expected one of {', '.join(FED_KITS19)}.")
        numbers = [number for split in FED_KITS19[site].values() for number in split]
        for number in progress.track(numbers, description=f"site {site}: drawing") if progress else numbers:
            image_path, label_path = case_files(folder, case_id(number))
            if not (image_path.is_file() and label_path.is_file()):
                image, label, affine = draw_case(site, number, seed, size)
                _write(image_path, image, affine)
                _write(label_path, label, affine)


def draw_case(site: str, number: int, seed: int, size: PhantomSize) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one case.

    Returns:
        Image int16 in HU and label uint8, both [slices, rows, columns] from superior to inferior, and the
        affine in KiTS19's form.
    """
    rng = np.random.default_rng((seed, zlib.crc32(case_id(number).encode())))
    scanner = SCANNERS[site]
    slices, matrix = _slices(rng, site, size), round(size.matrix * scanner.matrix)
    pixel, height = scanner.field * rng.uniform(0.94, 1.06) / matrix, rng.uniform(165, 195)
    offset = rng.uniform(-10, 10, 3)
    z, y, x = (
        (np.arange(count) - (count - 1) / 2) * step + shift
        for count, step, shift in zip((slices, matrix, matrix), (height / slices, pixel, pixel), offset, strict=True)
    )
    phase = max(0.1, rng.normal(scanner.phase, scanner.spread))
    abdomen = anatomy.draw(rng, x[None, None, :], y[None, :, None], z[:, None, None], phase)
    noise = _smooth(rng.standard_normal(abdomen.hu.shape, dtype=np.float32), scanner.grain)
    hu = _smooth(abdomen.hu, 0.6) + noise * (scanner.noise / noise.std())
    affine = np.zeros((4, 4))
    affine[0, 2] = affine[1, 1] = -pixel
    affine[2, 0], affine[3, 3] = -height / slices, 1
    return np.rint(hu).clip(-1024, 3071).astype(np.int16), abdomen.label, affine


def _slices(rng: np.random.Generator, site: str, size: PhantomSize) -> int:
    mean = TRAIN_SLICES[site] / len(FED_KITS19[site]["train"]) / size.slices_divisor
    return max(size.minimum_slices, round(mean * rng.uniform(0.75, 1.25)))


def _smooth(volume: np.ndarray, sigma: float) -> np.ndarray:
    """Blur every slice with a Gaussian of `sigma` pixels."""
    rows, columns = volume.shape[1:]
    squared = np.fft.fftfreq(rows)[:, None] ** 2 + np.fft.rfftfreq(columns)[None] ** 2
    transfer = np.exp(-2 * (np.pi * sigma) ** 2 * squared).astype(np.float32)
    return np.fft.irfft2(np.fft.rfft2(volume) * transfer, s=(rows, columns))


def _write(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write a NIfTI whose gzip header holds no time and no name."""
    with replacing(path) as stream, gzip.GzipFile("", "wb", 4, stream, mtime=0) as zipped:
        zipped.write(nib.Nifti1Image(array, affine).to_bytes())
