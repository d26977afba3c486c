# SPDX-License-Identifier: Apache-2.0
"""What the sites say to the server beside their tensors. Read whole and strictly: a peer is not trusted."""

import re
import reprlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import Field

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation import strict
from flap_sam.foundation.names import is_run_name
from flap_sam.foundation.strict import StrictModel, checked
from flap_sam.records.scores import Evaluation, RoundFigures
from flap_sam.sam.weights import Origin

if TYPE_CHECKING:
    from torch import Tensor  # commands that only move files read these messages too, and start without torch

TASK_TRAIN = "train"
TASK_EVALUATE = "evaluate"
EXPERIMENT = "flap_sam_experiment"
RUN = "flap_sam_run"
REPORT = "flap_sam_report"
VERSION = "flap_sam_version"
REASON = "flap_sam_reason"
REFUSED = "flap_sam_refused"
METRICS = (
    *("loss", "steps", "seconds", "validation", "test", "test_spread"),
    *("test_with", "test_missed", "test_false_positives", "hausdorff", "surface_dice"),
)
SPOKEN = 2
"""The version of task and answer that this flap-sam writes and reads; flap-sam 0.1 said none, which is the first."""
COUNTS = ("validation_cases", "test_cases")
LONGEST_TEXT = 2000

Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


class TrainReport(RoundFigures):
    """A site's word on a round.

    Args:
        experiment: the resolved experiment it ran, as JSON.
        start_digest: of its network before it took anything up (see `sam.checkpoint.start_digest`).
        frozen_digest: of what no round changes in it (see `sam.checkpoint.frozen_digest`).
        weights: what its network starts from (see `sam.weights`).
        labels: hash of its classes' names, in their order.
    """

    experiment: Text
    start_digest: Text
    frozen_digest: Text
    weights: Origin
    labels: Text


Report = TypeVar("Report", bound=StrictModel)


def to_meta(report: TrainReport | Evaluation) -> dict[str, object]:
    """The report as plain values."""
    return report.model_dump()


def from_meta(kind: type[Report], found: object, classes: int) -> Report:
    """A report of the wanted kind.

    Raises:
        FlapSamError: a value is missing, unknown, of another type, or outside its range.
    """
    try:
        return checked(kind, found, classes)
    except ValueError as error:
        raise FlapSamError(clean_reason(f"The report is refused: {error}."), Reason.RESULT) from error


def without(report: Report, withheld: Collection[str]) -> Report:
    """The report with None in place of the metrics that the site does not tell."""
    found = {name: value for name, value in report if name in withheld}
    return report.changed(**{name: [None] * len(v) if isinstance(v, list) else None for name, v in found.items()})


def withheld(report: Report, slices: int) -> Report:
    """The report without anything that depends on the site's data, and with an agreed number of training slices."""
    counts = {"slices": slices} if isinstance(report, TrainReport) else dict.fromkeys(COUNTS)
    return without(report, METRICS).changed(**counts)


def size(tensors: Mapping[str, "Tensor"], meta: Mapping[str, object]) -> int:
    """Bytes of a message: of its tensors, and of what it says beside them, 8 a number. Its envelope adds a little."""
    return sum(tensor.nbytes for tensor in tensors.values()) + _size_of(meta)


def _size_of(said: object) -> int:
    if isinstance(said, Mapping):
        return sum(_size_of(name) + _size_of(value) for name, value in said.items())
    if isinstance(said, list):
        return sum(map(_size_of, said))
    return len(said) if isinstance(said, str) else 8


def version_of(entries: Mapping[str, object]) -> object:
    """The version that a task or an answer says it is of, among what it says beside its tensors."""
    return entries.get(VERSION, 1)


def check_version(what: str, version: object, reason: Reason) -> None:
    """Raise a FlapSamError that names both versions where a message is not of the version spoken here.

    Args:
        what: "task" or "answer".
    """
    try:
        strict.check_version({strict.VERSION: version}, SPOKEN)
    except ValueError as error:
        raise FlapSamError(clean_reason(f"The {what} is refused: {error}."), reason) from error


def run_name(found: object) -> str:
    """The name of a run, under which each party keeps its state; it becomes a folder, so it may hold nothing else."""
    if not is_run_name(found):
        told = f"the name of the run is {reprlib.repr(found)}; expected small letters, digits and dashes"
        raise FlapSamError(clean_reason(f"The task is refused: {told}."), Reason.TASK)
    return found


def clean_reason(text: object) -> str:
    """A peer's sentence made fit for a log: printable, one line, not long."""
    return re.sub(r"[^ -~]+", " ", str(text))[:LONGEST_TEXT]
