# SPDX-License-Identifier: Apache-2.0
"""What a task may ask and what its answer may hold, judged without looking at who sends it."""

from collections.abc import Collection
from dataclasses import dataclass
from math import sqrt

from torch import Tensor

from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError, Reason
from flap_sam.gate.agreement import Agreement
from flap_sam.gate.update import Base, Change
from flap_sam.records.scores import Evaluation
from flap_sam.wire import encoding, payload
from flap_sam.wire.form import is_in_form_of_round
from flap_sam.wire.messages import (
    EXPERIMENT,
    REPORT,
    RUN,
    TASK_EVALUATE,
    TASK_TRAIN,
    VERSION,
    TrainReport,
    check_version,
    clean_reason,
    from_meta,
    run_name,
    version_of,
)

Tensors = dict[str, Tensor]

ROUNDED = 1.01  # more than a type of the wire lengthens a tensor


@dataclass(frozen=True)
class Content:
    """What a message holds, as it came and not yet checked.

    Args:
        meta: its entries beside the tensors.
        round: of the run.
        tensors: by name.
    """

    meta: dict[str, object]
    round: object
    tensors: object


@dataclass(frozen=True)
class Question:
    """What a task asks of a site.

    Args:
        task: train or evaluate.
        agreed: the job's experiment, which the site has agreed to.
        received: the payload as it came, not yet checked.
    """

    task: str
    run: str
    round: int
    agreed: Experiment
    received: object


@dataclass(frozen=True)
class Admitted:
    """A task that has passed, and all that its answer is judged by.

    Args:
        agreed: the job's experiment; experiment: resolved; own: with this site's rank.
        received: the payload, checked; norm: how far it is from where the network started.
    """

    task: str
    run: str
    round: int
    agreed: Experiment
    experiment: Experiment
    own: Experiment
    received: Tensors
    base: Base
    norm: float

    def update(self, wire: Tensors) -> Change:
        """What the site changed, from its tensors as they travel."""
        base = self.base.before(self.received)
        sent = encoding.numbers(wire, self.own.payload_dtype, base if self.received else {})
        return Change(sent, base, self.base.pairs, self.own.alpha)


def question(name: object, task: Content, agreement: Agreement) -> Question:
    """What the task of a name asks, once it is found to be one of ours.

    Raises:
        FlapSamError: it is none of ours, of no experiment agreed to, or of no round.
    """
    if name not in (TASK_TRAIN, TASK_EVALUATE):
        raise refusal(f"the task is {clean_reason(name)!r}", f"{TASK_TRAIN} or {TASK_EVALUATE}", Reason.TASK)
    check_version("task", version_of(task.meta), Reason.VERSION)
    check_names("the task's entries", task.meta, {EXPERIMENT, RUN, VERSION}, Reason.TASK)
    experiment = Experiment.from_json(_text("the task's experiment", task.meta[EXPERIMENT]))
    if not agreement.admits(experiment):
        found = f"the task is of experiment {experiment.digest()[:12]}"
        raise refusal(found, "one that the site has agreed to", Reason.NOT_AGREED)
    number = task.round
    if type(number) is not int or not 0 <= number <= experiment.rounds:
        raise refusal(f"the task's round is {clean_reason(repr(number))}", f"0 to {experiment.rounds}", Reason.TASK)
    if number == experiment.rounds and name == TASK_TRAIN:
        raise refusal(f"the task trains round {number}", f"0 to {number - 1}, as the site has agreed", Reason.TASK)
    if not task.tensors and (number > 0 or name == TASK_EVALUATE):
        raise refusal(f"round {number} comes without a payload", "one, as in every round but the first", Reason.PAYLOAD)
    return Question(name, run_name(task.meta[RUN]), number, experiment, task.tensors)


def admitted(asked: Question, base: Base, site: str, agreement: Agreement) -> Admitted:
    """The task, once its payload is found to be one of the experiment: adapters and heads, and nothing else.

    Raises:
        FlapSamError: see `payload.check`; or a factor that the round fixes is not orthonormal, the payload is further
            from where the network started than agreed, or its adapters' factors are larger than a payload within that
            norm needs.
    """
    resolved = asked.agreed.resolved(base.experiment.backbone, base.experiment.image_size)
    types = payload.types_down(resolved)
    received = payload.check(asked.received, types) if asked.received else {}
    own = resolved.at(site)
    if received and not is_in_form_of_round(received, own, base.turning, asked.round, next(iter(types.values()))[1]):
        found = f"the payload of round {asked.round} has an adapter whose fixed factor is not orthonormal"
        raise refusal(found, "orthonormal vectors, so that what moves beside it says how far", Reason.PAYLOAD)
    change = base.distance(received)
    if (norm := change.norm()) > agreement.largest_payload:
        expected = f"at most {agreement.largest_payload:g}, as the site has agreed"
        raise refusal(f"the norm of the payload's change is {norm:.4g}", expected, Reason.PAYLOAD_NORM)
    factor, largest_factor = change.largest_factor(), _largest_factor(agreement.largest_payload, change, own)
    if factor > largest_factor:
        found = f"the norm of the payload's adapters is {factor:.4g}, each factor by itself"
        raise refusal(found, f"at most {largest_factor:.4g}, more than such products need", Reason.PAYLOAD_NORM)
    return Admitted(asked.task, asked.run, asked.round, asked.agreed, resolved, own, received, base, norm)


def _largest_factor(largest_payload: float, change: Change, own: Experiment) -> float:
    """How large the factors of adapters may be, of which the server makes products up to a norm.

    Of n layers and rank r with products U S V^T of norm L together: in the split "paper" B = U has norm sqrt(n r) at
    most, A = S V^T has norm L; in "balanced" both have norm sqrt(sum S), at most sqrt(L sqrt(n r)), which lies between.
    So no honest payload up to that norm is refused, rounded or not.
    """
    return ROUNDED * max(largest_payload / own.alpha, sqrt(len(change.pairs) * own.rank))


def answer(result: Content, task: Admitted) -> tuple[Tensors, TrainReport | Evaluation]:
    """What a result says, once it holds nothing but what an answer to its task holds.

    Raises:
        FlapSamError: names what is too much, missing, or not as agreed.
    """
    check_names("the result's reports", result.meta, {REPORT, VERSION})
    check_version("answer", version_of(result.meta), Reason.RESULT)
    if result.round != task.round:
        raise refusal(f"the result is of round {clean_reason(result.round)}", str(task.round))
    if task.task == TASK_TRAIN:
        report = from_meta(TrainReport, result.meta[REPORT], task.experiment.classes)
        _check_texts(report, task.experiment)
        return payload.check(result.tensors, payload.types_up(task.own, task.round)), report
    scores = from_meta(Evaluation, result.meta[REPORT], task.experiment.classes)
    check_names("the result's tensors", result.tensors, set())
    return {}, scores


def refusal(found: str, expected: str, reason: Reason = Reason.RESULT) -> FlapSamError:
    """The gate's sentence, for the site's own log, and the reason that leaves in its place."""
    return FlapSamError(f"{found[:1].upper()}{found[1:]}; expected {expected}.", reason)


def _check_texts(report: TrainReport, experiment: Experiment) -> None:
    """The texts of a report are the experiment and two hashes: no room for others."""
    if report.experiment != experiment.to_json():
        raise refusal("the report is of another experiment", experiment.digest()[:12])
    for name in ("start_digest", "frozen_digest", "labels"):
        text = getattr(report, name)
        if len(text) != 64 or set(text) - set("0123456789abcdef"):
            raise refusal(f"the report's {name} is no SHA-256", "64 hexadecimal digits")


def _text(what: str, found: object) -> str:
    if not isinstance(found, str):
        raise refusal(f"{what} is {type(found).__name__}", "a text", Reason.EXPERIMENT)
    return found


def check_names(what: str, found: object, expected: Collection[str], reason: Reason = Reason.RESULT) -> None:
    """Raise a refusal where the names of what a message holds are not the expected ones."""
    if not isinstance(found, Collection):
        raise refusal(f"{what} are {type(found).__name__}", ", ".join(sorted(expected)) or "none", reason)
    if set(found) != set(expected):
        told = clean_reason(", ".join(sorted(map(str, found))))[:200] or "none"
        raise refusal(f"{what} are {told}", ", ".join(sorted(expected)) or "none", reason)
