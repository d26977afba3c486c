# SPDX-License-Identifier: Apache-2.0
"""The Medical Segmentation Decathlon layout, for your own data too.

    DIR/dataset.json   class names under "labels": {"0": "background", "1": ..., ...}
    DIR/imagesTr, DIR/labelsTr   <case>.nii.gz each, or with another ending of `readers.kinds.ENDINGS`
    DIR/sites.csv      columns case, site, split (train or test)
    DIR/labels.csv     what the numbers of the label maps stand for; may be left out, see `label_values`

Source: Antonelli et al., The Medical Segmentation Decathlon (arXiv 2106.05735); `sites.csv` is our addition.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from flap_sam.data.readers.kinds import Listing
from flap_sam.data.sources.source import SourceCase, passed_over
from flap_sam.data.sources.tabled import Tabled
from flap_sam.data.sources.tables import COLUMNS, read_table, read_text, split_of
from flap_sam.errors import FlapSamError


@dataclass
class Decathlon(Tabled):
    """A folder in the Decathlon layout; every scan is clipped at its own 0.5 and 99.5 percentile.

    Raises:
        FlapSamError: `dataset.json` or `sites.csv` is missing or not as above.
    """

    folder: Path
    name: str = field(default="decathlon", init=False)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        path = self.folder / "dataset.json"
        try:
            labels = json.loads(read_text(path))["labels"]
            return tuple(str(labels[str(number)]) for number in range(1, len(labels)))
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise FlapSamError(
                f'{path} gives no class names ({problem}), expected "labels": {{"0": "background", "1": ...}} '
                "numbered without a gap; correct it."
            ) from problem

    def located(self, row: dict[str, str]) -> SourceCase:
        case = row["case"]
        return SourceCase(case, split_of(row["split"]), self._images.place(case), self._labels.place(case))

    def notes(self) -> list[str]:
        cases, why = [self.located(row) for row in self.rows], "which no line of sites.csv names"
        return [
            *passed_over(self._images, (case.image for case in cases), why),
            *passed_over(self._labels, (case.label for case in cases), why),
        ]

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        return read_table(self.folder / "sites.csv", COLUMNS)

    @cached_property
    def _images(self) -> Listing:
        return Listing.of(self.folder / "imagesTr")

    @cached_property
    def _labels(self) -> Listing:
        return Listing.of(self.folder / "labelsTr")
