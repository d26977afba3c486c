# SPDX-License-Identifier: Apache-2.0
"""Your own data: an image and a label map for every case.

    DIR/images/<case>.nii.gz or <case>_0000.nii.gz (nnU-Net's way), DIR/labels/<case>.nii.gz;
        with any ending of `readers.kinds.ENDINGS`; an image may be a folder <case> of DICOM slices
    DIR/sites.csv      columns case, site, split (train or test)

or, wherever the files lie,

    DIR/cases.csv      columns case, site, split, image, label; paths from DIR

and in both
    DIR/classes.txt    one class name a line; may be left out, see `class_names`
    DIR/labels.csv     what the numbers of the label maps stand for; may be left out, see `label_values`
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from flap_sam.data.readers.kinds import Listing
from flap_sam.data.sources.classes import class_names
from flap_sam.data.sources.source import SourceCase, passed_over
from flap_sam.data.sources.tabled import Tabled
from flap_sam.data.sources.tables import COLUMNS, read_table, split_of

NNUNET = "_0000"


@dataclass
class Pairs(Tabled):
    """A folder of image and label pairs; every scan is clipped at its own 0.5 and 99.5 percentile.

    Raises:
        FlapSamError: `cases.csv` or `sites.csv` is missing or not as above.
    """

    folder: Path
    name: str = field(default="pairs", init=False)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return class_names(self.folder, (self.located(row).label for row in self.rows), self.label_values)

    def located(self, row: dict[str, str]) -> SourceCase:
        case = row["case"]
        if "image" in row:
            return SourceCase(case, split_of(row["split"]), self.folder / row["image"], self.folder / row["label"])
        image, label = self._images.place(case, case + NNUNET), self._labels.place(case)
        return SourceCase(case, split_of(row["split"]), image, label)

    def notes(self) -> list[str]:
        cases = [self.located(row) for row in self.rows]
        if "image" in self.rows[0]:
            return []
        why = "which no line of sites.csv names"
        return [
            *passed_over(self._images, (case.image for case in cases), why),
            *passed_over(self._labels, (case.label for case in cases), why),
        ]

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        if (self.folder / "cases.csv").exists():
            return read_table(self.folder / "cases.csv", (*COLUMNS, "image", "label"))
        return read_table(self.folder / "sites.csv", COLUMNS)

    @cached_property
    def _images(self) -> Listing:
        return Listing.of(self.folder / "images")

    @cached_property
    def _labels(self) -> Listing:
        return Listing.of(self.folder / "labels")
