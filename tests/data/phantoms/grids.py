# SPDX-License-Identifier: Apache-2.0
"""Grids to paint on: even and centred, without a scanner."""

import numpy as np
from flap_sam.data.phantoms.scanner import Grid


def cube(count: int, side: float, slices: int | None = None) -> Grid:
    """A grid of `count` voxels along each axis of a cube, or of fewer slices."""
    slices = slices or count
    (z, y, x) = (np.linspace(-side / 2, side / 2, n) if n > 1 else np.zeros(1) for n in (slices, count, count))
    step = side / (count - 1)
    return Grid(x[None, None], y[None, :, None], z[:, None, None], side / max(slices - 1, 1), step)
