# SPDX-License-Identifier: Apache-2.0
"""A phantom: cases that are drawn into the layout of a data set, in place of patients."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import nibabel as nib
import numpy as np
from rich.progress import Progress

from flap_sam.data.phantoms.body import Body
from flap_sam.data.phantoms.scanner import DEMO_SIZE, Grid, PhantomSize, Scanner
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing

S = TypeVar("S", bound=Scanner)


class Drawn(NamedTuple):
    """One case: its image int16 and label uint8, with axes as its site files them, and their affine."""

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class Phantom(Generic[S]):
    """Patients that were never there, and the scanners of the sites that image them.

    A case depends on the seed, its site, its name and the size alone, to the byte.

    Attributes:
        scanners: by site.
        cases: the names of each site's; no two sites have the same.
        files: of the image and the label of a case, below a folder.
        paint: the body that a scanner images on a grid.
        limits: the lowest and highest number that a voxel can hold.
    """

    scanners: Mapping[str, S]
    cases: Mapping[str, tuple[str, ...]]
    files: Callable[[Path, str], tuple[Path, Path]]
    paint: Callable[[np.random.Generator, S, Grid], Body]
    limits: tuple[int, int]

    def generate(
        self,
        folder: Path,
        sites: Iterable[str] | None = None,
        seed: int = 0,
        size: PhantomSize = DEMO_SIZE,
        progress: Progress | None = None,
    ) -> None:
        """Draw the cases of some or all sites into a folder, leaving alone what is there.

        Raises:
            FlapSamError: a site that the phantom does not have.
        """
        for site in self.scanners if sites is None else sites:
            if site not in self.scanners:
                raise FlapSamError(f"The phantom has no site {site!r}, expected one of {', '.join(self.scanners)}.")
            cases = self.cases[site]
            for case in progress.track(cases, description=f"site {site}: drawing") if progress else cases:
                image_path, label_path = self.files(folder, case)
                if not (image_path.is_file() and label_path.is_file()):
                    drawn = self.draw_case(site, case, seed, size)
                    _write(image_path, drawn.image, drawn.affine)
                    _write(label_path, drawn.label, drawn.affine)

    def draw_case(self, site: str, case: str, seed: int = 0, size: PhantomSize = DEMO_SIZE) -> Drawn:
        """Draw one case."""
        rng = np.random.default_rng((seed, zlib.crc32(case.encode())))
        scanner = self.scanners[site]
        grid = scanner.grid(rng, size)
        body = self.paint(rng, scanner, grid)
        image = np.rint(scanner.expose(rng, body.values)).clip(*self.limits).astype(np.int16)
        affine, (image, label) = scanner.filed(grid, image, body.label)
        return Drawn(image, label, affine)


def _write(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write a NIfTI whose gzip header holds no time and no name."""
    with replacing(path) as stream, gzip.GzipFile("", "wb", 4, stream, mtime=0) as zipped:
        zipped.write(nib.Nifti1Image(array, affine).to_bytes())
