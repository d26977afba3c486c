# SPDX-License-Identifier: Apache-2.0
"""Small volumes for the tests of this folder."""

from pathlib import Path

import nibabel as nib
import numpy as np
from flap_sam.data.intensity import SiteIntensity
from flap_sam.data.manifest import Draft, Manifest, Recipe
from flap_sam.data.store import ARRAYS, SiteStore, write_case, write_manifest

INTENSITY = SiteIntensity(low=-100.0, high=300.0, mean=100.0, std=60.0)
RECIPE = Recipe(source="kits19", classes=("kidney", "tumour"), any_label=False, minimum_side=0, intensity=INTENSITY)
EYE = tuple(map(tuple, np.eye(4).tolist()))


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def save_pair(image: Path, label: Path, highest: int = 2) -> None:
    """A volume of 4 x 5 x 6 voxels and a label map that holds every number from 0 to the highest."""
    save(image, np.arange(120, dtype=np.int16).reshape(4, 5, 6))
    save(label, (np.arange(120).reshape(4, 5, 6) % (highest + 1)).astype(np.uint8))


def draft(id: str, split: str, shape: tuple[int, int, int]) -> Draft:
    return Draft(
        id=id,
        split=split,
        shape=shape,
        spacing=(5.0, 0.8, 0.8),
        affine=EYE,
        original_shape=shape[::-1],
        minimum=-100.0,
        maximum=300.0,
    )


def manifest_of(site: str, cases, recipe: Recipe = RECIPE) -> Manifest:
    return Manifest(**dict(recipe), site=site, cases=tuple(cases))


def make_store(folder: Path, site: str, cases: dict[str, tuple[str, tuple[int, int, int]]]) -> SiteStore:
    """A store of random arrays; `cases` maps a name to its split and shape."""
    rng = np.random.default_rng(0)
    written = []
    for name, (split, shape) in cases.items():
        image, label = rng.integers(0, 65536, shape, np.uint16), rng.integers(0, 3, shape, np.uint8)
        written.append(write_case(folder / site / ARRAYS, draft(name, split, shape), image, label, RECIPE))
    write_manifest(folder, manifest_of(site, written))
    return SiteStore.open(folder, site)
