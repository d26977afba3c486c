"""KiTS19: contrast CT of kidneys with tumours, dealt to six sites as in Fed-KiTS19.

    DIR/data/case_XXXXX/{imaging,segmentation}.nii.gz

Source: Heller et al., KiTS19 (arXiv 1904.00445); the split is FLamby's Fed-KiTS19 (arXiv 2210.04620).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flap_sam.data.geometry import read_pair
from flap_sam.data.intensity import SiteIntensity
from flap_sam.data.sources.source import SourceCase, present
from flap_sam.errors import FlapSamError

CLASSES = ("kidney", "tumour")
PERCENTILES = (5, 95)

FED_KITS19 = {
    "A": {"train": (21, 38, 55, 62, 74, 129, 164, 173, 175), "test": (181, 195, 208)},
    "B": {"train": (0, 27, 51, 86, 101, 108, 116, 139, 141, 142, 155), "test": (161, 165, 198)},
    "C": {"train": (3, 14, 33, 42, 98, 100, 102, 103, 120), "test": (154, 156, 157)},
    "D": {"train": (53, 67, 70, 75, 78, 87, 113, 126, 135), "test": (140, 159, 188)},
    "E": {"train": (11, 20, 39, 56, 69, 73, 77, 80, 119, 122, 136, 152), "test": (153, 177, 184, 209)},
    "F": {
        "train": (1, 2, 5, 16, 22, 26, 30, 47, 49, 52, 59, 63, 68, 71, 76, 89, 91, 93, 96, 110, 114, 115, 118, 132),
        "test": (144, 146, 147, 148, 151, 158),
    },
}

_HU_LOWEST, _HU_HIGHEST = -32768, 32767


def case_id(number: int) -> str:
    """The name of a KiTS19 case, which is also its folder's."""
    return f"case_{number:05d}"


def case_files(folder: Path, case: str) -> tuple[Path, Path]:
    """The image and label file of a case below a KiTS19 folder."""
    return folder / "data" / case / "imaging.nii.gz", folder / "data" / case / "segmentation.nii.gz"


@dataclass(frozen=True)
class Kits19:
    """A folder in the KiTS19 layout; it need hold only the cases of the sites that are asked for."""

    folder: Path
    name: str = "kits19"
    classes: tuple[str, ...] = CLASSES

    def sites(self) -> list[str]:
        return list(FED_KITS19)

    def cases(self, site: str) -> list[SourceCase]:
        return present(
            [
                SourceCase(case_id(number), split, *case_files(self.folder, case_id(number)))
                for split, numbers in FED_KITS19[site].items()
                for number in numbers
            ],
            site,
        )

    def intensity(self, site: str) -> SiteIntensity:
        """The site's table over the foreground voxels of its training cases, in HU."""
        training = [case for case in self.cases(site) if case.split == "train"]
        counts = foreground_histogram((case.image, case.label) for case in training)
        if not counts.any():
            raise FlapSamError(
                f"The training cases of site {site} in {self.folder} have no labelled voxel, expected kidneys; "
                "check their segmentation files."
            )
        return table(counts)


def foreground_histogram(files: Iterable[tuple[Path, Path]]) -> np.ndarray:
    """Count the labelled voxels at every whole HU of 16 bits, lowest first, holding one case at a time."""
    counts = np.zeros(_HU_HIGHEST - _HU_LOWEST + 1, np.int64)
    for image_path, label_path in files:
        image, label = read_pair(image_path, label_path, len(CLASSES))
        foreground = np.rint(image.array[label > 0]).clip(_HU_LOWEST, _HU_HIGHEST).astype(np.int64)
        counts += np.bincount(foreground - _HU_LOWEST, minlength=len(counts))
    return counts


def table(counts: np.ndarray) -> SiteIntensity:
    """Percentiles, mean and standard deviation of what `foreground_histogram` counted."""
    values = np.arange(_HU_LOWEST, _HU_HIGHEST + 1, dtype=float)
    cumulated = counts.cumsum()
    low, high = values[np.searchsorted(cumulated, np.multiply(PERCENTILES, cumulated[-1]) / 100)]
    mean = np.average(values, weights=counts)
    variance = np.average((values - mean) ** 2, weights=counts)
    return SiteIntensity(low=float(low), high=float(high), mean=float(mean), std=float(np.sqrt(variance)))
