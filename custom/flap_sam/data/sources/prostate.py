"""Prostate MR (T2) from six hospitals.

    DIR/<site>/CaseXX.nii.gz, DIR/<site>/CaseXX_segmentation.nii.gz   (BMC: CaseXX_Segmentation.nii.gz)

<site> is one of the names in `FOLDERS`.

Source: Liu et al., Shape-aware Meta-learning (arXiv 2007.02035), who gathered NCI-ISBI 2013, I2CVB and PROMISE12;
the split is that of FLAP-SAM (arXiv 2407.21739).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from flap_sam.data.intensity import VolumeIntensity
from flap_sam.data.sources.source import Source, SourceCase, checked
from flap_sam.data.workers import Each, in_turn
from flap_sam.errors import FlapSamError

FOLDERS = {
    "A": ("RUNMC", "ISBI"),
    "B": ("BMC", "ISBI_1.5"),
    "C": ("I2CVB", "HCRUDB"),
    "D": ("UCL",),
    "E": ("BIDMC",),
    "F": ("HK",),
}
TEST = {
    "A": (3, 8, 12, 15, 18, 26),
    "B": (3, 8, 12, 15, 18, 26),
    "C": (3, 8, 13, 15),
    "D": (1, 32, 34),
    "E": (0, 4, 9),
    "F": (38, 41, 46),
}
IMAGE = re.compile(r"Case(\d+)\.nii\.gz")
LABEL_ENDINGS = ("_segmentation.nii.gz", "_Segmentation.nii.gz")


@dataclass(frozen=True)
class Prostate(Source):
    """A folder in this layout; it need hold only the sites that are asked for.

    Every scan is clipped at its own 99th percentile, and whatever its label map marks is prostate. All scans of a
    site's folder that are no test cases train.

    Raises:
        FlapSamError: a site's folder is missing or holds no case.
    """

    folder: Path
    name: str = "prostate"
    classes: tuple[str, ...] = ("prostate",)
    any_label: bool = True

    def sites(self) -> list[str]:
        return list(FOLDERS)

    def cases(self, site: str) -> list[SourceCase]:
        folder = next((self.folder / name for name in FOLDERS[site] if (self.folder / name).is_dir()), None)
        if folder is None:
            raise FlapSamError(
                f"{self.folder} has no folder {' or '.join(FOLDERS[site])}, which holds site {site}; fetch it, or "
                "correct its name."
            )
        names = {path.name for path in folder.glob("Case*.nii.gz")}
        numbers = sorted(match[1] for match in map(IMAGE.fullmatch, names) if match)
        if not numbers:
            raise FlapSamError(f"{folder} holds no file such as Case00.nii.gz; fetch site {site} again.")
        return checked([_case(folder, number, names, TEST[site]) for number in numbers], site)

    def intensity(self, site: str, each: Each = in_turn) -> VolumeIntensity:
        return VolumeIntensity(low_percentile=0.0, high_percentile=99.0)


def _case(folder: Path, number: str, names: set[str], test: tuple[int, ...]) -> SourceCase:
    id = f"Case{number}"
    lower, upper = (id + ending for ending in LABEL_ENDINGS)
    split = "test" if int(number) in test else "train"
    return SourceCase(id, split, folder / f"{id}.nii.gz", folder / (upper if upper in names else lower))
