# SPDX-License-Identifier: Apache-2.0
"""Prostate MR (T2) from six hospitals.

    DIR/<site>/CaseXX.nii.gz, DIR/<site>/CaseXX_segmentation.nii.gz   (BMC: CaseXX_Segmentation.nii.gz)

    DIR/labels.csv   what the numbers of the label maps stand for; may be left out, see `label_values`

<site> is one of the names in `FOLDERS`; files may have another ending of `readers.kinds.ENDINGS`.

Source: Liu et al., Shape-aware Meta-learning (arXiv 2007.02035), who gathered NCI-ISBI 2013, I2CVB and PROMISE12;
the split is that of FLAP-SAM (arXiv 2407.21739).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from flap_sam.data.intensity import VolumeIntensity
from flap_sam.data.manifest import Split
from flap_sam.data.readers.kinds import Listing
from flap_sam.data.sources.source import Source, SourceCase, checked, passed_over
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
IMAGE = re.compile(r"Case(\d+)")
LABELS = ("_segmentation", "_Segmentation")


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
        listing = Listing.of(folder)
        numbers = sorted(match[1] for match in map(IMAGE.fullmatch, listing.volumes) if match)
        if not numbers:
            raise FlapSamError(f"{folder} holds no file such as Case00.nii.gz; fetch site {site} again.")
        return checked([_case(listing, number, TEST[site]) for number in numbers], site)

    def notes(self) -> list[str]:
        listings = (Listing.of(self.folder / name) for names in FOLDERS.values() for name in names)
        sentences = []
        for listing in listings:
            numbers = (match[1] for match in map(IMAGE.fullmatch, listing.volumes) if match)
            cases = [_case(listing, number, ()) for number in numbers]
            used = [path for case in cases for path in (case.image, case.label)]
            sentences += passed_over(listing, used, "which are neither CaseXX nor CaseXX_segmentation")
        return sentences

    def intensity(self, site: str, each: Each = in_turn) -> VolumeIntensity:
        return VolumeIntensity(low_percentile=0.0, high_percentile=99.0)


def _case(listing: Listing, number: str, test: tuple[int, ...]) -> SourceCase:
    id = f"Case{number}"
    split: Split = "test" if int(number) in test else "train"
    return SourceCase(id, split, listing.place(id), listing.place(*(id + ending for ending in LABELS)))
