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
