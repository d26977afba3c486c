# SPDX-License-Identifier: Apache-2.0
"""How good a payload is, in figures: of one case, and of a site's cases; and how a site's round went."""

from collections.abc import Iterable, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from flap_sam.config.experiment import Experiment
from flap_sam.config.reads import LORA_METHODS
from flap_sam.foundation.strict import StrictModel

LARGEST_COUNT = 10**9
LARGEST_DISTANCE = 1e5

ByClass = tuple[float | None, ...]

SEGMENTED, MISSED, FALSE_POSITIVE, ABSENT = "segmented", "missed", "false positive", "absent"

S = TypeVar("S", bound=Sized)


def _written_as_float(found: object) -> object:
    if type(found) is int:
        raise ValueError("a number that is no whole one, as 1.0 is")
    return found


def _of_every_class(found: S, known: ValidationInfo) -> S:
    if known.context is not None and len(found) != known.context:
        raise ValueError(f"{known.context} of them, one for every class")
    return found


Float = Annotated[float, BeforeValidator(_written_as_float)]
Tally = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Amount = Annotated[Float, Field(ge=0, le=LARGEST_COUNT)]
Dice = Annotated[Float, Field(ge=0, le=1)]
Distance = Annotated[Float, Field(ge=0, le=LARGEST_DISTANCE)]
DiceByClass = Annotated[list[Dice | None], AfterValidator(_of_every_class)]
TallyByClass = Annotated[list[Tally | None], AfterValidator(_of_every_class)]
DistanceByClass = Annotated[list[Distance | None], AfterValidator(_of_every_class)]
"""What leaves a site, in its limits. A list by class has as many entries as the context says, where there is one."""


@dataclass(frozen=True)
class Overlap:
    """How many voxels of a case the truth has of a class, the prediction, and both at once."""

    true: int
    predicted: int
    both: int

    @property
    def dice(self) -> float | None:
        """2 |P and T| / (|P| + |T|); None where the truth has none: what was then predicted is a false positive."""
        return 2 * self.both / (self.true + self.predicted) if self.true else None

    @property
    def outcome(self) -> str:
        """Whether truth, prediction or both have the class."""
        if self.true:
            return SEGMENTED if self.predicted else MISSED
        return FALSE_POSITIVE if self.predicted else ABSENT


@dataclass(frozen=True)
class CaseScore:
    """One case by class, background left out.

    Args:
        overlaps: by class; voxel_ml: the volume of a voxel.
        hausdorff, surface_dice: see `surfaces`; empty where they were not asked for.
    """

    case: str
    overlaps: tuple[Overlap, ...]
    voxel_ml: float
    hausdorff: ByClass = ()
    surface_dice: ByClass = ()

    @cached_property
    def dice(self) -> ByClass:
        return tuple(overlap.dice for overlap in self.overlaps)

    @property
    def true_ml(self) -> tuple[float, ...]:
        """What the truth has of each class, in ml."""
        return tuple(overlap.true * self.voxel_ml for overlap in self.overlaps)

    @property
    def predicted_ml(self) -> tuple[float, ...]:
        return tuple(overlap.predicted * self.voxel_ml for overlap in self.overlaps)

    @property
    def false_positive_ml(self) -> tuple[float, ...]:
        """What is predicted of each class where the truth does not have it, in ml."""
        return tuple((overlap.predicted - overlap.both) * self.voxel_ml for overlap in self.overlaps)


class RoundFigures(StrictModel):
    """What a site says of a round it has trained, and the round log keeps.

    Args:
        slices: training slices.
        loss, steps, seconds: of the local epochs; None where the site withholds them.
        validation: Dice by class of the payload it received, on its validation cases.
        demo: it trains on the bundled demo.
    """

    slices: Tally
    loss: Amount | None
    steps: Tally | None
    seconds: Amount | None
    validation: DiceByClass
    demo: bool


class Evaluation(StrictModel):
    """A payload on one site's cases: all that leaves the site of it. Lists are by class, None for what no case has.

    Args:
        validation, test: mean Dice over the cases; validation_cases, test_cases: how many there are; None
            where the site withholds it.
        test_spread: sample standard deviation over the test cases that have the class; None for fewer than two.
        test_with: how many test cases have the class, which is the n of its means; None where that is withheld.
        test_missed: in how many of these it was not found at all; test_false_positives: in how many others it was.
        hausdorff: mean over the test cases, mm, a missed organ at the scan's diagonal; surface_dice: mean; both all
            None where they were not asked for.
    """

    validation: DiceByClass
    validation_cases: Tally | None
    test: DiceByClass
    test_spread: DiceByClass
    test_with: TallyByClass
    test_missed: TallyByClass
    test_false_positives: TallyByClass
    test_cases: Tally | None
    hausdorff: DistanceByClass
    surface_dice: DiceByClass


def departures(experiment: Experiment, sites: Iterable[str]) -> dict[str, str]:
    """Which sites score another network than the exported payload makes, and which, as clauses about the site."""
    found = {site: [*_departures(experiment, site)] for site in sites}
    return {site: " and ".join(clauses) for site, clauses in found.items() if clauses}


def _departures(experiment: Experiment, site: str) -> Iterable[str]:
    adapted, rank = experiment.method in LORA_METHODS, experiment.ranks.get(site, experiment.rank)
    if adapted and rank < experiment.rank:
        yield f"scored the first {rank} of the payload's {experiment.rank} ranks"
    if adapted and experiment.adapter == "mole":
        yield "scored with its own mixture weights, which no payload holds"
    if experiment.payload_dtype != "float32":
        yield f"scored the payload as it travels, rounded for {experiment.payload_dtype}"
