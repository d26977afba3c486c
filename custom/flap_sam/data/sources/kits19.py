# SPDX-License-Identifier: Apache-2.0
"""KiTS19: contrast CT of kidneys with tumours, dealt to six sites as in Fed-KiTS19.

    DIR/data/case_XXXXX/{imaging,segmentation}.nii.gz, or with another ending of `readers.kinds.ENDINGS`
    DIR/labels.csv    what the numbers of the label maps stand for; may be left out, see `label_values`

Source: Heller et al., KiTS19 (arXiv 1904.00445); the split is FLamby's Fed-KiTS19 (arXiv 2210.04620).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from flap_sam.data.intensity import SiteIntensity
from flap_sam.data.manifest import Split
from flap_sam.data.readers.kinds import with_any_ending
from flap_sam.data.sources.source import Source, SourceCase, checked
from flap_sam.data.volumes import read_pair
from flap_sam.data.workers import Each, in_turn
from flap_sam.errors import FlapSamError

CLASSES = ("kidney", "tumour")
PERCENTILES = (5, 95)

FED_KITS19: dict[str, dict[Split, tuple[int, ...]]] = {
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

PUBLISHED = {  # in HU, what FLAP-SAM's authors used (arXiv 2407.21739)
    "A": SiteIntensity(low=-66, high=208, mean=100.545, std=61.677),
    "B": SiteIntensity(low=-77, high=341, mean=110.722, std=84.011),
    "C": SiteIntensity(low=-89, high=325, mean=123.673, std=97.306),
    "D": SiteIntensity(low=-64, high=202, mean=71.069, std=52.988),
    "E": SiteIntensity(low=-64, high=236, mean=91.367, std=60.980),
    "F": SiteIntensity(low=-82, high=288, mean=105.312, std=76.499),
}

_HU_LOWEST, _HU_HIGHEST = -32768, 32767


def case_id(number: int) -> str:
    """The name of a KiTS19 case, which is also its folder's."""
    return f"case_{number:05d}"


def case_files(folder: Path, case: str) -> tuple[Path, Path]:
    """The image and label file of a case below a KiTS19 folder."""
    return folder / "data" / case / "imaging.nii.gz", folder / "data" / case / "segmentation.nii.gz"


@dataclass(frozen=True)
class Kits19(Source):
    """A folder in the KiTS19 layout; it need hold only the cases of the sites that are asked for."""

    folder: Path
    name: str = "kits19"
    classes: tuple[str, ...] = CLASSES

    def sites(self) -> list[str]:
        return list(FED_KITS19)

    def cases(self, site: str) -> list[SourceCase]:
        return checked(
            [
                SourceCase(case_id(number), split, *map(with_any_ending, case_files(self.folder, case_id(number))))
                for split, numbers in FED_KITS19[site].items()
                for number in numbers
            ],
            site,
        )

    def intensity(self, site: str, each: Each = in_turn) -> SiteIntensity:
        """The site's table over the foreground voxels of its training cases, in HU."""
        training = [case for case in self.cases(site) if case.split == "train"]
        counts = np.sum(each(partial(foreground_histogram, values=self.label_values), training), axis=0)
        if not counts.any():
            raise FlapSamError(
                f"The training cases of site {site} in {self.folder} have no labelled voxel, expected kidneys; "
                "check their segmentation files."
            )
        return table(counts)


@dataclass(frozen=True)
class PublishedKits19(Kits19):
    """The same with the intensity tables that the paper's authors used."""

    name: str = "kits19-published"

    def intensity(self, site: str, each: Each = in_turn) -> SiteIntensity:
        return PUBLISHED[site]


def foreground_histogram(case: SourceCase, values: Mapping[int, int] | None = None) -> np.ndarray:
    """Count a case's labelled voxels at every whole HU of 16 bits, int64 [65536], lowest first.

    Args:
        values: see `label_values`.
    """
    image, label = read_pair(case.image, case.label, len(CLASSES), values=values)
    rows = range(label.shape[1])
    foreground = np.concatenate([image.array[:, row][label[:, row] > 0] for row in rows])
    whole = np.rint(foreground).clip(_HU_LOWEST, _HU_HIGHEST).astype(np.int64)
    return np.bincount(whole - _HU_LOWEST, minlength=_HU_HIGHEST - _HU_LOWEST + 1)


def table(counts: np.ndarray) -> SiteIntensity:
    """Percentiles, mean and standard deviation of what `foreground_histogram` counted."""
    values = np.arange(_HU_LOWEST, _HU_HIGHEST + 1, dtype=float)
    cumulated = counts.cumsum()
    low, high = values[np.searchsorted(cumulated, np.multiply(PERCENTILES, cumulated[-1]) / 100)]
    mean = np.average(values, weights=counts)
    variance = np.average((values - mean) ** 2, weights=counts)
    return SiteIntensity(low=float(low), high=float(high), mean=float(mean), std=float(np.sqrt(variance)))
