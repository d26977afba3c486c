"""Your own data in the layout of the Brain Imaging Data Structure, one scan a participant.

    DIR/sub-XX/anat/*.nii.gz                            one image, whatever its suffix (_T1w, _T2w, ...)
    DIR/derivatives/labels/sub-XX/anat/*_dseg.nii.gz    its label map
    DIR/participants.tsv   columns participant_id (sub-XX), site, split (train or test)
    DIR/classes.txt        one class name a line; may be left out, see `class_names`

Source: Gorgolewski et al., The brain imaging data structure (Scientific Data 2016); `derivatives/labels`, the
column split and `classes.txt` are our additions.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from flap_sam.data.sources.classes import class_names
from flap_sam.data.sources.source import SourceCase
from flap_sam.data.sources.tabled import Tabled
from flap_sam.data.sources.tables import read_table
from flap_sam.errors import FlapSamError

COLUMNS = ("participant_id", "site", "split")


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
        return class_names(self.folder, sorted(self.folder.glob("derivatives/labels/sub-*/anat/*_dseg.nii.gz")))

    def located(self, row: dict[str, str]) -> SourceCase:
        participant = row["participant_id"]
        image = _only(self.folder / participant / "anat", "*.nii.gz")
        label = _only(self.folder / "derivatives" / "labels" / participant / "anat", "*_dseg.nii.gz")
        return SourceCase(participant, row["split"], image, label)

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        return read_table(self.folder / "participants.tsv", COLUMNS, delimiter="\t")


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise FlapSamError(
            f"{folder} holds {len(found)} files {pattern}, expected exactly one; fetch it, or move the others away."
        )
    return found[0]
