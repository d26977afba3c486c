# SPDX-License-Identifier: Apache-2.0
"""What we hold of the paper (FLAP-SAM, arXiv 2407.21739): its settings, and the figures that it prints.

The settings are those of its section 3.2, which `Experiment` has as its defaults, and of the authors' published code
(github.com/BioMedIA-MBZUAI/FLAP-SAM). Dice and collaborative gain are those of its Figure 1, federated on Fed-KiTS19,
as a text copy of the paper gives them: without the Dice of FullFT and AttnFT, and the sign of LoRAFT's gain. Its Tables
1, 2 and A to E were not at hand when this was written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from flap_sam.config.experiment import DEFAULTS, Experiment, unread

JOBS_OWN = ("dataset", "classes", "surface_tolerance", "seed")  # of which the paper says nothing for all data sets
SETTINGS: dict[str, object] = {name: value for name, value in DEFAULTS.items() if name not in JOBS_OWN} | {
    "backbone": "vit_b",
    "image_size": 224,
    "normalisation": "window",  # of the published code, on every data set
    "split": "paper",
}
"""The paper's settings on every data set."""


class DataSet(NamedTuple):
    """A data set of the paper: the number of classes, and the sites."""

    classes: int
    sites: tuple[str, ...]


FIGURE_1 = "kits19"  # the data set of its figures
DATA_SETS = {
    FIGURE_1: DataSet(2, tuple("ABCDEF")),
    "ixi": DataSet(1, ("Guys", "HH", "IOP")),
    "prostate": DataSet(1, tuple("ABCDEF")),
}
NOTES = (
    "In every job the same, and no settings: the loss, 0.2 cross-entropy + 0.8 Dice; AdamW, where the paper's text "
    "says Adam; sites weigh by their training slices.",
    "Not at hand: whether the paper has another rate, batch or number of rounds on one of its data sets (its published "
    "code has one for all), and the seeds behind its figures. Its Figure 1 is headed 25 rounds.",
)


def settings_for(dataset: object) -> dict[str, object]:
    """The paper's settings on a data set; of one that it does not have, those of all."""
    known = DATA_SETS.get(str(dataset))
    return SETTINGS | ({"classes": known.classes} if known else {})


def departures(settings: Mapping[str, object], varied: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """In what an experiment is not the paper's: by the setting's name its value, and the paper's.

    Args:
        settings: the experiment's, perhaps without those at their defaults; varied: those that it is meant to have
            otherwise, such as the method.
    """
    found = {**DEFAULTS, **settings}
    paper = {**found, **settings_for(settings["dataset"]), **varied}
    paper |= {name: default for name, default in unread(paper).items() if name not in varied}
    return {name: (found[name], value) for name, value in paper.items() if found[name] != value}


@dataclass(frozen=True)
class PaperRow:
    """One row of the paper's comparison and, where we hold them, the figures it prints.

    Args:
        settings: of the experiment; trained, total: in millions; reduction: of traffic against full fine-tuning;
            dice: of the federation; gain: of Dice over local training; these three as in its
            Figure 1; remark: why a count or a reduction differs from ours.
    """

    label: str
    settings: dict[str, object]
    trained: float | None = None
    total: float | None = None
    reduction: float | None = None
    dice: float | None = None
    gain: float | None = None
    remark: str = ""


_MASAM_TWICE = "its total counts the prompt encoder's 6,220 twice"
_NO_RULE = "no one rule gives both of its figures"
_ROUNDED = "its ratio is of rounded gigabytes"

PAPER = (
    PaperRow("FullFT, 1 class", {"method": "fullft", "classes": 1}),
    PaperRow("FullFT", {"method": "fullft"}),
    PaperRow("AttnFT, 1 class", {"method": "attnft", "classes": 1}, trained=29.575, remark=_NO_RULE),
    PaperRow("AttnFT", {"method": "attnft"}, trained=30.186, reduction=2.8, gain=0.0886, remark=_NO_RULE),
    PaperRow("DecFT, 1 class", {"method": "decft", "classes": 1}),
    PaperRow("DecFT", {"method": "decft"}, reduction=23.2, dice=0.507, gain=0.0855),
    PaperRow("PDecFT, 1 class", {"method": "pdecft", "classes": 1}),
    PaperRow("PDecFT", {"method": "pdecft"}, reduction=187.4, dice=0.454, gain=0.0772, remark=_ROUNDED),
    PaperRow("LoRAFT", {"method": "loraft"}, reduction=66.1, dice=0.369, remark=_ROUNDED),
    PaperRow("LoRADecFT (SAMed), 1 class", {"method": "loradecft", "classes": 1}),
    PaperRow("LoRADecFT (SAMed)", {"method": "loradecft"}, reduction=17.2, dice=0.598, gain=0.0934),
    PaperRow("FLAP-SAM, 1 class", {"classes": 1}),
    PaperRow("FLAP-SAM", {}, trained=1.846, reduction=48.9, dice=0.605, gain=0.0977, remark=_ROUNDED),
    PaperRow("FLAP-SAM, rank 16", {"rank": 16}),
    PaperRow("FLAP-SAM, rank 4", {"rank": 4}),
    PaperRow("FLAP-SAM, DoRA", {"adapter": "dora"}, trained=1.846, remark="it leaves out the 20,736 magnitudes"),
    PaperRow("FLAP-SAM, MoLE, 3 experts", {"adapter": "mole"}),
    PaperRow("MA-SAM, 1 class", {"method": "masam", "classes": 1}, trained=28.667, total=115.297, remark=_MASAM_TWICE),
    PaperRow("MA-SAM", {"method": "masam"}, trained=28.721, total=116.605, remark=_NO_RULE),
)


def paper_experiment(row: PaperRow) -> Experiment:
    """A row's experiment, on `vit_b` at 224 px."""
    return Experiment.from_dict({name: SETTINGS[name] for name in ("backbone", "image_size")} | row.settings)
