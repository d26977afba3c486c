"""The Medical Segmentation Decathlon layout, for your own data too.

    DIR/dataset.json   class names under "labels": {"0": "background", "1": ..., ...}
    DIR/imagesTr, DIR/labelsTr   <case>.nii.gz each
    DIR/sites.csv      columns case, site, split (train or test)

Source: Antonelli et al., The Medical Segmentation Decathlon (arXiv 2106.05735); `sites.csv` is our addition.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from flap_sam.data.sources.source import SourceCase
from flap_sam.data.sources.tabled import Tabled
from flap_sam.data.sources.tables import COLUMNS, read_table
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
            labels = json.loads(path.read_text("utf-8"))["labels"]
            return tuple(str(labels[str(number)]) for number in range(1, len(labels)))
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise FlapSamError(
                f'{path} gives no class names ({problem}), expected "labels": {{"0": "background", "1": ...}} '
                "numbered without a gap; correct it."
            ) from problem

    def located(self, row: dict[str, str]) -> SourceCase:
        file = f"{row['case']}.nii.gz"
        return SourceCase(row["case"], row["split"], self.folder / "imagesTr" / file, self.folder / "labelsTr" / file)

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        return read_table(self.folder / "sites.csv", COLUMNS)
