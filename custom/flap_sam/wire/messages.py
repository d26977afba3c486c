"""What the sites say to the server beside their tensors. Read whole and strictly: a peer is not trusted."""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import NoneType, UnionType
from typing import Literal, get_args, get_origin

from torch import Tensor

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.names import is_run_name
from flap_sam.records.scores import Evaluation
from flap_sam.sam.weights import Origin

TASK_TRAIN = "train"
TASK_EVALUATE = "evaluate"
EXPERIMENT = "flap_sam_experiment"
RUN = "flap_sam_run"
REPORT = "flap_sam_report"
REASON = "flap_sam_reason"
REFUSED = "flap_sam_refused"
METRICS = (
    *("loss", "steps", "seconds", "validation", "test", "test_spread"),
    *("test_with", "test_missed", "test_false_positives", "hausdorff", "surface_dice"),
)
COUNTS = ("validation_cases", "test_cases")
LONGEST_TEXT = 2000
LARGEST_COUNT = 10**9
LARGEST_DISTANCE = 1e5

DiceByClass = list[float | None]


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    """A site's word on a round.

    Args:
        experiment: the resolved experiment it ran, as JSON.
        start_digest: of its network before it took anything up (see `sam.checkpoint.start_digest`).
        frozen_digest: of what no round changes in it (see `sam.checkpoint.frozen_digest`).
        slices: training slices.
        loss, steps, seconds: of the local epochs; None where the site withholds them.
        validation: Dice by class of the payload it received, on its validation cases.
        demo: it trains on the bundled demo.
        weights: what its network starts from (see `sam.weights`).
        labels: hash of its classes' names, in their order.
    """

    experiment: str
    start_digest: str
    frozen_digest: str
    slices: int
    loss: float | None
    steps: int | None
    seconds: float | None
    validation: DiceByClass
    demo: bool
    weights: Origin
    labels: str


def to_meta(report: TrainReport | Evaluation) -> dict:
    """The report as plain values."""
    return asdict(report)


def from_meta(kind: type, found: object, classes: int) -> TrainReport | Evaluation:
    """A report of the wanted kind.

    Raises:
        FlapSamError: a value is missing, unknown, of another type, or outside its range.
    """
    names = {field.name for field in fields(kind)}
    if not isinstance(found, Mapping) or set(found) != names:
        raise _refused(
            "its entries", found if not isinstance(found, Mapping) else sorted(map(str, found)), sorted(names)
        )
    for field in fields(kind):
        largest = LARGEST_DISTANCE if field.name == "hausdorff" else 1.0
        _check(field.name, field.type, found[field.name], classes, largest)
    return kind(**found)


def without(report: TrainReport | Evaluation, withheld: Collection[str]) -> TrainReport | Evaluation:
    """The report with None in place of the metrics that the site does not tell."""
    found = {name: getattr(report, name) for name in withheld if hasattr(report, name)}
    return replace(report, **{name: [None] * len(v) if isinstance(v, list) else None for name, v in found.items()})


def withheld(report: TrainReport | Evaluation, slices: int) -> TrainReport | Evaluation:
    """The report without anything that depends on the site's data, and with an agreed number of training slices."""
    counts = {"slices": slices} if isinstance(report, TrainReport) else dict.fromkeys(COUNTS)
    return replace(without(report, METRICS), **counts)


def size(tensors: Mapping[str, Tensor], meta: Mapping[str, object]) -> int:
    """Bytes of a message: of its tensors, and of what it says beside them, 8 a number. Its envelope adds a little."""
    return sum(tensor.nbytes for tensor in tensors.values()) + _size_of(meta)


def _size_of(said: object) -> int:
    if isinstance(said, Mapping):
        return sum(_size_of(name) + _size_of(value) for name, value in said.items())
    if isinstance(said, list):
        return sum(map(_size_of, said))
    return len(said) if isinstance(said, str) else 8


def run_name(found: object) -> str:
    """The name of a run, under which each party keeps its state; it becomes a folder, so it may hold nothing else."""
    if not is_run_name(found):
        raise _refused("the name of the run", repr(found), "small letters, digits and dashes", Reason.TASK)
    return found


def clean_reason(text: object) -> str:
    """A peer's sentence made fit for a log: printable, one line, not long."""
    return re.sub(r"[^ -~]+", " ", str(text))[:LONGEST_TEXT]


def _check(name: str, kind: object, value: object, classes: int, largest: float) -> None:
    if isinstance(kind, UnionType):
        kind = NoneType if value is None else get_args(kind)[0]
    if kind is NoneType:
        return
    if kind is bool:
        good, expected = isinstance(value, bool), "true or false"
    elif get_origin(kind) is Literal:
        known = get_args(kind)
        good, expected = isinstance(value, str) and value in known, "one of " + ", ".join(known)
    elif kind is str:
        good, expected = isinstance(value, str) and len(value) <= LONGEST_TEXT, "a short text"
    elif kind is int:
        good, expected = type(value) is int and 0 <= value <= LARGEST_COUNT, "a whole number, 0 or more"
    elif kind is float:
        good, expected = type(value) is float and 0 <= value <= LARGEST_COUNT, f"a number from 0 to {LARGEST_COUNT:g}"
    elif kind == list[int | None]:
        good, expected = _is_by_class(value, classes, LARGEST_COUNT, int), f"{classes} whole numbers or null"
    else:
        good, expected = _is_by_class(value, classes, largest), f"{classes} numbers from 0 to {largest:g} or null"
    if not good:
        raise _refused(name, value, expected)


def _is_by_class(value: object, classes: int, largest: float, kind: type = float) -> bool:
    return (
        isinstance(value, list)
        and len(value) == classes
        and all(v is None or (type(v) is kind and 0 <= v <= largest) for v in value)
    )


def _refused(name: str, found: object, expected: object, reason: Reason = Reason.RESULT) -> FlapSamError:
    message = clean_reason(f"The report is refused: {name} is {str(found)[:200]}; expected {expected}.")
    return FlapSamError(message, reason)
