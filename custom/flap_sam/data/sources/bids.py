# SPDX-License-Identifier: Apache-2.0
"""Your own data in the layout of the Brain Imaging Data Structure, one scan a participant.

    DIR/sub-XX/anat/*.nii.gz                            one image, whatever its suffix (_T1w, _T2w, ...)
    DIR/derivatives/labels/sub-XX/anat/*_dseg.nii.gz    its label map
    DIR/participants.tsv   columns participant_id (sub-XX), site, split (train or test)
    DIR/classes.txt        one class name a line; may be left out, see `class_names`
    DIR/labels.csv         what the numbers of the label maps stand for; may be left out, see `label_values`

Files may have another ending of `readers.kinds.ENDINGS`.

Source: Gorgolewski et al., The brain imaging data structure (Scientific Data 2016); `derivatives/labels`, the
column split and `classes.txt` are our additions.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from flap_sam.data.readers.kinds import NIFTI, Listing, listed, stem
from flap_sam.data.sources.classes import class_names
from flap_sam.data.sources.source import SourceCase
from flap_sam.data.sources.tabled import Tabled
from flap_sam.data.sources.tables import read_table, split_of
from flap_sam.errors import FlapSamError

COLUMNS = ("participant_id", "site", "split")
LABELS = "derivatives/labels"


@dataclass
class Bids(Tabled):
    """A folder in the BIDS layout; every scan is clipped at its own 0.5 and 99.5 percentile.

    Raises:
        FlapSamError: `participants.tsv` is missing or not as above, or a participant's folder holds no image or
            label map, or several.
    """

    folder: Path
    name: str = field(default="bids", init=False)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        labels = (
            path for folder in sorted(self.folder.glob(f"{LABELS}/sub-*/anat")) for path in _ending(folder, "_dseg")
        )
        return class_names(self.folder, labels, self.label_values)

    def located(self, row: dict[str, str]) -> SourceCase:
        participant = row["participant_id"]
        image = _only(self.folder / participant / "anat", "")
        label = _only(self.folder / LABELS / participant / "anat", "_dseg")
        return SourceCase(participant, split_of(row["split"]), image, label)

    def notes(self) -> list[str]:
        known = {row["participant_id"] for row in self.rows}
        others = [path for path in sorted(self.folder.glob("sub-*")) if path.name not in known]
        if not others:
            return []
        return [
            f"{self.folder} holds participants that no line of participants.tsv names, passed over: "
            f"{listed(others, self.folder)}."
        ]

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        return read_table(self.folder / "participants.tsv", COLUMNS)


def _only(folder: Path, suffix: str) -> Path:
    """The only volume of a folder whose name ends so."""
    found = _ending(folder, suffix)
    if len(found) != 1:
        raise FlapSamError(
            f"{folder} holds {len(found)} files *{suffix}{NIFTI[0]}, expected exactly one; fetch it, or move the "
            "others away."
        )
    return found[0]


def _ending(folder: Path, suffix: str) -> list[Path]:
    """The volumes of a folder whose names end so, before their endings."""
    volumes = (path for paths in Listing.of(folder).volumes.values() for path in paths)
    return [path for path in volumes if stem(path).endswith(suffix)]
