# SPDX-License-Identifier: Apache-2.0
"""How a site images its patients: the grid of a scan, its blur and its noise."""

from dataclasses import dataclass

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

BLUR = 0.6  # pixels, of every scan
DRAWN = "IPL"  # how bodies are painted: slices from superior to inferior, rows to the back, columns to the left


@dataclass(frozen=True)
class PhantomSize:
    """How large a phantom is.

    Attributes:
        matrix: rows and columns of a slice, at most sites.
        slices: of a case, in units of those that its scanner usually makes.
        minimum_slices: no case has fewer.
    """

    matrix: int = 128
    slices: float = 1.0
    minimum_slices: int = 4


DEMO_SIZE = PhantomSize()


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a scan lie.

    Attributes:
        x, y, z: their centres in millimetres, broadcastable to [slices, rows, columns].
        thickness, pixel: from slice to slice, and from pixel to pixel, in millimetres.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    thickness: float
    pixel: float

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.x.shape, self.y.shape, self.z.shape)


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """A site's scanner.

    Attributes:
        noise: standard deviation, in the unit of its images.
        grain: size of the noise's grain, in pixels.
        field: side of the field of view in mm.
        heights: least and greatest length of patient that a scan covers, in mm.
        slices: mean number a case.
        matrix: rows and columns in units of `PhantomSize.matrix`.
        axes: where the axes of its files point, as nibabel writes it.
    """

    noise: float
    grain: float
    field: float
    heights: tuple[float, float]
    slices: float
    matrix: float = 1.0
    axes: str = DRAWN

    def grid(self, rng: np.random.Generator, size: PhantomSize) -> Grid:
        """The grid of one scan, which is never quite in the middle of the patient."""
        slices = max(size.minimum_slices, round(self.slices * size.slices * rng.uniform(0.75, 1.25)))
        matrix = round(size.matrix * self.matrix)
        pixel, height = self.field * rng.uniform(0.94, 1.06) / matrix, rng.uniform(*self.heights)
        thickness = height / slices
        offset = rng.uniform(-10, 10, 3)
        z, y, x = (
            (np.arange(count) - (count - 1) / 2) * step + shift
            for count, step, shift in zip((slices, matrix, matrix), (thickness, pixel, pixel), offset, strict=True)
        )
        return Grid(x[None, None, :], y[None, :, None], z[:, None, None], thickness, pixel)

    def expose(self, rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
        """The painted intensities, blurred and with noise; same shape."""
        noise = _smooth(rng.standard_normal(values.shape, dtype=np.float32), self.grain)
        return _smooth(values, BLUR) + noise * (self.noise / noise.std())

    def filed(self, grid: Grid, *arrays: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """The affine of a scan's files, and the painted arrays with their axes as this scanner files them."""
        drawn = np.zeros((4, 4))
        drawn[2, 0], drawn[0, 2], drawn[1, 1], drawn[3, 3] = -grid.thickness, -grid.pixel, -grid.pixel, 1
        turn = ornt_transform(axcodes2ornt(DRAWN), axcodes2ornt(self.axes))
        return drawn @ inv_ornt_aff(turn, grid.shape), [apply_orientation(array, turn) for array in arrays]


def _smooth(volume: np.ndarray, sigma: float) -> np.ndarray:
    """Blur every slice with a Gaussian of `sigma` pixels."""
    rows, columns = volume.shape[1:]
    squared = np.fft.fftfreq(rows)[:, None] ** 2 + np.fft.rfftfreq(columns)[None] ** 2
    transfer = np.exp(-2 * (np.pi * sigma) ** 2 * squared).astype(np.float32)
    return np.fft.irfft2(np.fft.rfft2(volume) * transfer, s=(rows, columns))
