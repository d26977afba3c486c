"""The Medical Segmentation Decathlon layout, for your own data too.

    DIR/dataset.json   class names under "labels": {"0": "background", "1": ..., ...}
    DIR/imagesTr, DIR/labelsTr   <case>.nii.gz each
    DIR/sites.csv      columns case, site, split (train or test)

Source: Antonelli et al., The Medical Segmentation Decathlon (arXiv 2106.05735); `sites.csv` is our addition.
"""

import csv
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from flap_sam.data.intensity import VolumeIntensity
from flap_sam.data.manifest import is_name
from flap_sam.data.sources.source import SourceCase, present
from flap_sam.errors import FlapSamError

COLUMNS = ("case", "site", "split")


@dataclass
class Decathlon:
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

    def sites(self) -> list[str]:
        return sorted({row["site"] for row in self._rows})

    def cases(self, site: str) -> list[SourceCase]:
        return present([self._case(row) for row in self._rows if row["site"] == site], site)

    def intensity(self, site: str) -> VolumeIntensity:
        return VolumeIntensity(low_percentile=0.5, high_percentile=99.5)

    def _case(self, row: dict[str, str]) -> SourceCase:
        file = f"{row['case']}.nii.gz"
        return SourceCase(row["case"], row["split"], self.folder / "imagesTr" / file, self.folder / "labelsTr" / file)

    @cached_property
    def _rows(self) -> list[dict[str, str]]:
        path = self.folder / "sites.csv"
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
        except (OSError, ValueError, csv.Error) as problem:
            raise FlapSamError(
                f"{path} cannot be read ({problem}), expected a table with the columns {', '.join(COLUMNS)}."
            ) from problem
        seen = set()
        for line, row in enumerate(rows, start=2):
            case, site, split = map(row.get, COLUMNS)
            if not is_name(case) or not is_name(site) or split not in ("train", "test") or case in seen:
                raise FlapSamError(
                    f"{path} has in line {line} the case {case!r}, site {site!r} and split {split!r}, expected a "
                    "case not listed before, a site name, and train or test; correct the line."
                )
            seen.add(case)
        return rows
