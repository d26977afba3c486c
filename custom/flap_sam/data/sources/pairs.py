"""Your own data: an image and a label map for every case.

    DIR/images/<case>.nii.gz or <case>_0000.nii.gz (nnU-Net's way), DIR/labels/<case>.nii.gz
    DIR/sites.csv      columns case, site, split (train or test)

or, wherever the files lie,

    DIR/cases.csv      columns case, site, split, image, label; paths from DIR

and in both
    DIR/classes.txt    one class name a line; may be left out, see `class_names`
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from flap_sam.data.sources.classes import class_names
from flap_sam.data.sources.source import SourceCase
from flap_sam.data.sources.tabled import Tabled
from flap_sam.data.sources.tables import COLUMNS, read_table
from flap_sam.errors import FlapSamError

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
        return class_names(self.folder, (self.located(row).label for row in self.rows))

    def located(self, row: dict[str, str]) -> SourceCase:
        return SourceCase(row["case"], row["split"], self.folder / row["image"], self.folder / row["label"])

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        if (self.folder / "cases.csv").exists():
            return read_table(self.folder / "cases.csv", (*COLUMNS, "image", "label"))
        rows = read_table(self.folder / "sites.csv", COLUMNS)
        images = {path.name for path in (self.folder / "images").glob("*.nii.gz")}
        return [
            {**row, "image": self._image(row["case"], images), "label": f"labels/{row['case']}.nii.gz"} for row in rows
        ]

    def _image(self, case: str, images: set[str]) -> str:
        plain, nnunet = f"{case}.nii.gz", f"{case}{NNUNET}.nii.gz"
        if {plain, nnunet} <= images:
            raise FlapSamError(
                f"{self.folder / 'images'} holds {plain} and {nnunet}, which would both be the case {case}; remove or "
                "rename one."
            )
        return f"images/{nnunet if nnunet in images else plain}"
