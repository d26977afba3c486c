"""Small volumes for the tests of this folder."""

from pathlib import Path

import nibabel as nib
import numpy as np
from flap_sam.data.intensity import SiteIntensity
from flap_sam.data.manifest import Case, Manifest
from flap_sam.data.store import SiteStore, write_case, write_manifest

INTENSITY = SiteIntensity(low=-100.0, high=300.0, mean=100.0, std=60.0)
EYE = tuple(map(tuple, np.eye(4).tolist()))


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def draft(id: str, split: str, shape: tuple[int, int, int]) -> Case:
    return Case(id, split, shape, (5.0, 0.8, 0.8), EYE, shape[::-1], -100.0, 300.0, "", "")


def make_store(folder: Path, site: str, cases: dict[str, tuple[str, tuple[int, int, int]]]) -> SiteStore:
    """A store of random arrays; `cases` maps a name to its split and shape."""
    rng = np.random.default_rng(0)
    written = []
    for name, (split, shape) in cases.items():
        image, label = rng.integers(0, 65536, shape, np.uint16), rng.integers(0, 3, shape, np.uint8)
        written.append(write_case(folder / site, draft(name, split, shape), image, label, INTENSITY))
    write_manifest(folder, Manifest("kits19", site, ("kidney", "tumour"), INTENSITY, tuple(written)))
    return SiteStore.open(folder, site)
