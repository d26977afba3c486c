# SPDX-License-Identifier: Apache-2.0
"""IXI-Tiny: small T1 MR scans of the brain from three London hospitals, split as in Fed-IXI.

    DIR/<case>/T1/<case>_image.nii.gz, DIR/<case>/label/<case>_label.nii.gz    (FLamby's IXI_sample)
    DIR/image/<case>_image.nii.gz, DIR/label/<case>_label.nii.gz               (TorchIO's ixi_tiny)
    DIR/split.csv    columns case, split (train or test); may be left out
    DIR/labels.csv   what the numbers of the label maps stand for; may be left out, see `label_values`

Files may have another ending of `readers.kinds.ENDINGS`. <case> as in IXI002-Guys-0828: participant, site, a number.
DIR may also be the folder above `IXI_sample` or `ixi_tiny`.

Source: the IXI dataset (brain-development.org); TorchIO (arXiv 2003.04696); the split is FLamby's Fed-IXI
(arXiv 2210.04620).
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from flap_sam.data.intensity import VolumeIntensity
from flap_sam.data.manifest import Split
from flap_sam.data.readers.kinds import Listing, stem, with_any_ending
from flap_sam.data.sources.source import Source, SourceCase, checked, passed_over
from flap_sam.data.sources.tables import read_table, split_of
from flap_sam.data.workers import Each, in_turn
from flap_sam.errors import FlapSamError

FED_IXI_TEST = {
    "Guys": (
        *(2, 17, 24, 27, 36, 54, 58, 63, 65, 75, 106, 107, 111, 112, 116, 118, 120, 121, 129, 135, 141, 145, 151, 153),
        *(185, 189, 194, 229, 240, 264, 269, 270, 279, 289, 319, 336, 364, 369, 398, 401, 402, 406, 408, 415, 420),
        *(428, 456, 461, 479, 492, 496, 499, 502, 503, 504, 523, 585, 589, 594, 607, 626, 648),
    ),
    "HH": (
        *(12, 15, 34, 49, 97, 127, 148, 161, 201, 211, 214, 218, 248, 254, 256, 282, 313, 327, 328, 329, 362, 383),
        *(437, 444, 451, 485, 511, 518, 519, 524, 586, 598, 612, 633, 634, 635),
    ),
    "IOP": (231, 238, 291, 293, 294, 310, 314, 337, 388, 430, 470, 543, 547, 571, 595),
}

SCANS = ("image", "*/T1")
IMAGE = "_image"
CASE = re.compile(r"IXI(?P<participant>\d+)-(?P<site>Guys|HH|IOP)-\d+")


@dataclass
class Ixi(Source):
    """A folder in one of the IXI-Tiny layouts, or a part of it.

    Fed-IXI's split is kept where only some of its scans are here. Where there is a `split.csv`, it alone says which
    cases are used and how.

    Scans are laid on 0..1 from their minimum to their maximum and their axial slices zero-padded to at least 64 x 64,
    which makes 83 x 64 x 64 of 83 x 44 x 55 (slices first).

    Raises:
        FlapSamError: there is no such scan, one with another name, or `split.csv` is not as above or lists a case
            that is not here.
    """

    folder: Path
    name: str = "ixi"
    classes: tuple[str, ...] = field(default=("brain",), init=False)
    minimum_side: int = field(default=64, init=False)

    def sites(self) -> list[str]:
        return sorted(FED_IXI_TEST)

    def cases(self, site: str) -> list[SourceCase]:
        cases = [case for case, of in self._located if of == site]
        if not cases:
            raise FlapSamError(
                f"{self.folder} has no scan of site {site}, expected such as IXI002-Guys-0828_image.nii.gz in image/ "
                "or in IXI002-Guys-0828/T1/; fetch them, or point to the folder that holds them."
            )
        return checked(cases, site)

    def intensity(self, site: str, each: Each = in_turn) -> VolumeIntensity:
        return VolumeIntensity(low_percentile=0.0, high_percentile=100.0)

    @cached_property
    def _located(self) -> list[tuple[SourceCase, str]]:
        """Every case here that is used, and its site."""
        own = self._own_split
        found = [self._case(image) for image in self._images()]
        missing = own.keys() - {case.id for case, _ in found} if own else None
        if missing:
            raise FlapSamError(
                f"{self.folder / 'split.csv'} lists the case {min(missing)}, which is not below {self.folder}; fetch "
                "it or take it off the list."
            )
        return [(case, site) for case, site in found if own is None or case.id in own]

    def notes(self) -> list[str]:
        used = [case.image for case, _ in self._located]
        return [
            sentence
            for listing in self._listings
            for sentence in passed_over(listing, used, "which split.csv does not name, or of another name than a scan")
        ]

    @cached_property
    def _listings(self) -> list[Listing]:
        folders = (self.folder, self.folder / "IXI_sample", self.folder / "ixi_tiny")
        return [Listing.of(place) for folder in folders for scans in SCANS for place in sorted(folder.glob(scans))]

    def _images(self) -> list[Path]:
        names = ((listing, name) for listing in self._listings for name in listing.volumes if name.endswith(IMAGE))
        return [image for listing, name in names if (image := listing.find(name))]

    def _case(self, image: Path) -> tuple[SourceCase, str]:
        name = stem(image).removesuffix(IMAGE)
        known = CASE.fullmatch(name)
        if known is None:
            raise FlapSamError(
                f"{image} has another name than IXI scans have, such as IXI002-Guys-0828_image.nii.gz; name it so, "
                "or move it away."
            )
        official: Split = "test" if int(known["participant"]) in FED_IXI_TEST[known["site"]] else "train"
        split = official if self._own_split is None else self._own_split.get(name, official)
        label = with_any_ending(image.parents[1] / "label" / f"{name}_label.nii.gz")
        return SourceCase(name, split, image, label), known["site"]

    @cached_property
    def _own_split(self) -> dict[str, Split] | None:
        path = self.folder / "split.csv"
        if not path.exists():
            return None
        return {row["case"]: split_of(row["split"]) for row in read_table(path, ("case", "split"))}
