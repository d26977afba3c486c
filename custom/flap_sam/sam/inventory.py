# SPDX-License-Identifier: Apache-2.0
"""How many parameters a method trains and sends, counted on the meta device."""

import math
from dataclasses import dataclass, fields
from functools import cache

from flap_sam.config.experiment import Experiment
from flap_sam.sam.build import build
from flap_sam.sam.methods import parameter_table

BYTES_A_NUMBER = 4


@dataclass(frozen=True)
class Count:
    """Numbers of parameters: counted as trainable, in all, sent by a site in a round, and received by it.

    What is sent in every other round counts half.
    """

    trained: int
    total: int
    sent: int
    received: int

    def __add__(self, other: "Count") -> "Count":
        return Count(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True)
class Inventory:
    """Counts by group of the network, in the network's order."""

    groups: dict[str, Count]

    @property
    def whole(self) -> Count:
        return sum(self.groups.values(), Count(0, 0, 0, 0))

    @property
    def megabytes(self) -> float:
        """What travels from a site to the server in one round: 10^6 bytes of float32, unframed."""
        return self.whole.sent * BYTES_A_NUMBER / 1e6

    @property
    def megabytes_down(self) -> float:
        """What travels from the server to a site in one round."""
        return self.whole.received * BYTES_A_NUMBER / 1e6


@cache
def inventory(experiment: Experiment) -> Inventory:
    """Count a resolved experiment's parameters."""
    groups: dict[str, Count] = {}
    for tensor in parameter_table(build(experiment), experiment.method):
        size = math.prod(tensor.shape)
        sent = size * sum(tensor.leaves_in(number) for number in range(2)) // 2
        count = Count(size * tensor.trained, size, sent, size * tensor.sent)
        groups[tensor.group] = groups.get(tensor.group, Count(0, 0, 0, 0)) + count
    return Inventory(groups)


def full_fine_tuning(experiment: Experiment) -> Inventory:
    """The same network without adapters, all of it trained: what the paper compares with."""
    sizes = {name: getattr(experiment, name) for name in ("backbone", "image_size", "classes", "prompt_grid")}
    return inventory(Experiment(method="fullft", **sizes))


@dataclass(frozen=True)
class PaperRow:
    """One row of the paper's comparison and, where we hold them, the figures it prints.

    Args:
        settings: of the experiment; trained, total: in millions; reduction: of traffic against full
            fine-tuning, as in its Figure 1; remark: why a figure differs.
    """

    label: str
    settings: dict[str, object]
    trained: float | None = None
    total: float | None = None
    reduction: float | None = None
    remark: str = ""


_MASAM_TWICE = "its total counts the prompt encoder's 6,220 twice"
_NO_RULE = "no one rule gives both of its figures"
_ROUNDED = "its ratio is of rounded gigabytes"

PAPER = (
    PaperRow("FullFT, 1 class", {"method": "fullft", "classes": 1}),
    PaperRow("FullFT", {"method": "fullft"}),
    PaperRow("AttnFT, 1 class", {"method": "attnft", "classes": 1}, trained=29.575, remark=_NO_RULE),
    PaperRow("AttnFT", {"method": "attnft"}, trained=30.186, reduction=2.8, remark=_NO_RULE),
    PaperRow("DecFT, 1 class", {"method": "decft", "classes": 1}),
    PaperRow("DecFT", {"method": "decft"}, reduction=23.2),
    PaperRow("PDecFT, 1 class", {"method": "pdecft", "classes": 1}),
    PaperRow("PDecFT", {"method": "pdecft"}, reduction=187.4, remark=_ROUNDED),
    PaperRow("LoRAFT", {"method": "loraft"}, reduction=66.1, remark=_ROUNDED),
    PaperRow("LoRADecFT (SAMed), 1 class", {"method": "loradecft", "classes": 1}),
    PaperRow("LoRADecFT (SAMed)", {"method": "loradecft"}, reduction=17.2),
    PaperRow("FLAP-SAM, 1 class", {"classes": 1}),
    PaperRow("FLAP-SAM", {}, trained=1.846, reduction=48.9, remark=_ROUNDED),
    PaperRow("FLAP-SAM, rank 16", {"rank": 16}),
    PaperRow("FLAP-SAM, rank 4", {"rank": 4}),
    PaperRow("FLAP-SAM, DoRA", {"adapter": "dora"}, trained=1.846, remark="it leaves out the 20,736 magnitudes"),
    PaperRow("FLAP-SAM, MoLE, 3 experts", {"adapter": "mole"}),
    PaperRow("MA-SAM, 1 class", {"method": "masam", "classes": 1}, trained=28.667, total=115.297, remark=_MASAM_TWICE),
    PaperRow("MA-SAM", {"method": "masam"}, trained=28.721, total=116.605, remark=_NO_RULE),
)


def paper_experiment(row: PaperRow) -> Experiment:
    """A row's experiment, on `vit_b` at 224 px."""
    return Experiment.from_dict({"backbone": "vit_b", "image_size": 224, **row.settings})
