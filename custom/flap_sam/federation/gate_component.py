# SPDX-License-Identifier: Apache-2.0
"""The gate as a FLARE component. A site lists it in its own `privacy.json`, where no job can reach it.

FLARE adds it behind the job's components: it sees a task after every filter and before the executor, and a result
after every filter. FLARE swallows what an event's handler raises and lets the message go on. So every message is
emptied before it is judged, and filled again only with what has passed: whatever goes wrong on the way, nothing does.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey, ProcessType, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from flap_sam.config.experiment import Experiment
from flap_sam.errors import OF_NO_DATA, FlapSamError, Reason
from flap_sam.federation import envelope
from flap_sam.federation.envelope import CONTENT, HEADERS
from flap_sam.gate import ledger, rules
from flap_sam.gate.agreement import Agreement
from flap_sam.gate.audit import RELEASED
from flap_sam.gate.flood import Flood
from flap_sam.gate.ledger import Turn
from flap_sam.gate.places import Places
from flap_sam.gate.release import Release, release
from flap_sam.gate.rules import Admitted
from flap_sam.gate.update import Base
from flap_sam.records.scores import Evaluation
from flap_sam.wire.digest import digest
from flap_sam.wire.exchange import Answer
from flap_sam.wire.messages import (
    REASON,
    REFUSED,
    TASK_TRAIN,
    TrainReport,
    clean_reason,
    to_meta,
    withheld,
    without,
)

ADMITTED, PASSED, COOKIES = "flap_sam_admitted", "flap_sam_passed", "flap_sam_cookies"
RETURN_CODES = frozenset(value for name, value in vars(ReturnCode).items() if name.isupper())
LONGEST_WHY, LONGEST_TASK = 500, 80
AUDIT_ID = re.compile(r"[0-9a-f-]{36}")

T = TypeVar("T")


class Gate(FLComponent):
    """Lets in the tasks of agreed experiments, and out what their answers may hold; see `agreement.Agreement`."""

    def __init__(self) -> None:
        super().__init__()
        self._bases: dict[Experiment, Base] = {}
        self._flood = Flood()
        self._guards = {
            EventType.AFTER_TASK_DATA_FILTER: self._guard_task,
            EventType.AFTER_TASK_RESULT_FILTER: self._guard_result,
            EventType.BEFORE_SEND_TASK_RESULT: self._guard_passed,
        }

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        guard = self._guards.get(event_type)
        if guard and fl_ctx.get_process_type() != ProcessType.SERVER_JOB:  # the simulator's server shares the policy
            guard(fl_ctx)

    def _guard_task(self, fl_ctx: FLContext) -> None:
        """Hand a task on to the executor if it is admitted, else the refusal alone."""
        task = fl_ctx.get_prop(FLContextKey.TASK_DATA)
        whole = _taken(task)
        task[HEADERS] = {
            **whole[HEADERS],
            REFUSED: str(Reason.GATE),
        }  # FLARE finds the answer's way back by the headers
        _set(fl_ctx, COOKIES, repr(whole.get_cookie_jar()))
        admitted = self._judged("in", lambda: self._admit(whole, fl_ctx), fl_ctx)
        if isinstance(admitted, Reason):
            task.set_header(REFUSED, str(admitted))
        else:
            _set(fl_ctx, ADMITTED, admitted)
            task.clear()
            task.update(whole)

    def _guard_result(self, fl_ctx: FLContext) -> None:
        """Put into a result what of it may leave, made anew, else the refusal alone."""
        result = fl_ctx.get_prop(FLContextKey.TASK_RESULT)
        _set(fl_ctx, PASSED, (result, None))  # whatever fails from here on, `_guard_passed` refuses it
        whole = _taken(result)
        result.update(_failure(Reason.GATE))
        passed = self._judged("out", lambda: self._release(whole, fl_ctx), fl_ctx)
        if isinstance(passed, Reason):
            result.set_header(REASON, str(self._said(passed, fl_ctx)))
            passed = result
        _set(fl_ctx, PASSED, (result, _fingerprint(passed, fl_ctx)))
        result.update(passed)

    def _guard_passed(self, fl_ctx: FLContext) -> None:
        """Let a result go that nobody has changed since it passed, else the refusal alone."""
        result, fingerprint = fl_ctx.get_prop(PASSED) or (None, None)
        if result is None:  # FLARE's own answer to a task that came to no result
            return
        whole = _taken(result)
        result.update(_failure(Reason.CHANGED))
        result[HEADERS] |= {name: v for name, v in whole[HEADERS].items() if _is_flares(name, v, fl_ctx)}
        changed = self._judged("out", lambda: _check_unchanged(whole, fingerprint, fl_ctx), fl_ctx)
        if changed is None:
            result.clear()
            result.update(whole)

    def _said(self, refused: Reason, fl_ctx: FLContext) -> Reason:
        """The reason that leaves in place of an answer that was refused, once the question is counted.

        Whether and why an answer is refused may tell of the data: without counting, a server could ask as often as it
        likes and learn a bit each time.
        """
        if refused in OF_NO_DATA:
            return refused
        counted = self._judged("out", lambda: self._count(fl_ctx), fl_ctx)
        if isinstance(counted, Reason):
            return counted
        return Reason.STOPPED if counted.privacy else refused

    def _count(self, fl_ctx: FLContext) -> Agreement:
        """Count a question that was admitted and has come to no answer; the agreement that holds."""
        places = _places(fl_ctx)
        agreement = Agreement.read(places.local)
        admitted = fl_ctx.get_prop(ADMITTED)
        if isinstance(admitted, Admitted):
            _set(fl_ctx, ADMITTED, None)
            turn = _turn(admitted, fl_ctx)
            with ledger.held(places.folder, places.audit_log) as file:
                book = file.read()
                book.check(turn, agreement)
                file.write(book.answered(turn, bare=False))
        return agreement

    def _judged(self, direction: str, judge: Callable[[], T], fl_ctx: FLContext) -> T | Reason:
        """What a judgement finds, or the reason for which the message is refused."""
        try:
            return judge()
        except Exception as error:  # whatever it is: what the gate cannot judge does not pass
            reason = error.reason if isinstance(error, FlapSamError) else Reason.GATE
            told = f"{type(error).__name__}: {error}"
        try:
            self.log_error(fl_ctx, f"REFUSED by the gate, {direction}: {told}", fire_event=False)
            refusal = {"direction": direction, "refused": reason, "why": clean_reason(told)[:LONGEST_WHY]}
            self._write(fl_ctx, refusal, often=direction == "in")
        except Exception as error:
            self.log_error(fl_ctx, f"The gate cannot audit a refusal: {error}", fire_event=False)
        return reason

    def _admit(self, task: Shareable, fl_ctx: FLContext) -> Admitted:
        """Check a task whole; raises a FlapSamError where it asks for what was not agreed to."""
        places = _places(fl_ctx)
        agreement = Agreement.read(places.local)
        asked = rules.question(fl_ctx.get_prop(FLContextKey.TASK_NAME), envelope.of_task(task), agreement)
        with ledger.held(places.folder, places.audit_log) as file:
            file.read().check(_turn(asked, fl_ctx), agreement)
        admitted = rules.admitted(asked, self._base(asked.agreed.at(places.name), places), places.name, agreement)
        self._write(
            fl_ctx, {"direction": "in", "run": admitted.run, "round": admitted.round, "payload_norm": admitted.norm}
        )
        return admitted

    def _release(self, result: Shareable, fl_ctx: FLContext) -> Shareable:
        """What of a result may leave, in a message made anew; raises a FlapSamError where it must not.

        The ledger and the audit log are on the disk before the message is made.
        """
        places = _places(fl_ctx)
        agreement = Agreement.read(places.local)
        if (code := result.get_return_code(ReturnCode.OK)) != ReturnCode.OK:
            return self._failed(code, result, agreement, fl_ctx)
        admitted = fl_ctx.get_prop(ADMITTED)
        if not isinstance(admitted, Admitted):
            raise rules.refusal("there is a result, but no task was admitted", "none")
        if not agreement.admits(admitted.agreed):
            expected = "one that the site still agrees to"
            raise rules.refusal("the result is of another experiment", expected, Reason.NOT_AGREED)
        tensors, report = rules.answer(envelope.of_result(result), admitted)
        told = _told(report, agreement)
        turn = _turn(admitted, fl_ctx)
        with ledger.held(places.folder, places.audit_log) as file:
            book = file.read()
            book.check(turn, agreement)
            leaving = Release({})
            if admitted.task == TASK_TRAIN:
                update = admitted.update(tensors)
                leaving = release(tensors, update, admitted.own.payload_dtype, agreement, book)
            file.write(book.answered(turn, agreement.privacy is None, leaving.noise_multiplier))
            _set(fl_ctx, ADMITTED, None)
            self._write(fl_ctx, _entry(admitted, leaving, agreement))
        own = {name: tensor.detach().clone() for name, tensor in leaving.tensors.items()}
        answer = Answer(admitted.round, own, to_meta(told))
        model = FLModel(params_type=ParamsType.FULL, params=own, current_round=admitted.round, meta=answer.entries)
        return FLModelUtils.to_shareable(model)

    def _failed(self, code: str, result: Shareable, agreement: Agreement, fl_ctx: FLContext) -> Shareable:
        """A failure leaves as FLARE's code and one of our reasons; under `privacy`, as the fact alone.

        It counts as an answer where the data may have a part in it.
        """
        reason = Reason.of(result.get_header(REASON))
        self._write(fl_ctx, {"direction": "out", "failure": reason}, often=fl_ctx.get_prop(ADMITTED) is None)
        if reason not in OF_NO_DATA:
            self._count(fl_ctx)
        if agreement.privacy or code not in RETURN_CODES:
            code = ReturnCode.EXECUTION_EXCEPTION
        return _failure(Reason.STOPPED if agreement.privacy else reason, code)

    def _base(self, experiment: Experiment, places: Places) -> Base:
        """Where the experiment starts here; made once in a process."""
        if experiment not in self._bases:
            self._bases = {experiment: Base(experiment, places.site)}
        return self._bases[experiment]

    def _write(self, fl_ctx: FLContext, entry: Mapping[str, object], often: bool = False) -> None:
        """Write a line into the audit log, if it is one that a server can bring about `often`, then as `flood` says."""
        due = self._flood.due(entry) if often else entry
        if due is not None:
            task = clean_reason(fl_ctx.get_prop(FLContextKey.TASK_NAME))[:LONGEST_TASK]
            _places(fl_ctx).audit_log.write({"job": fl_ctx.get_job_id(), "task": task, **due})


def _told(report: TrainReport | Evaluation, agreement: Agreement) -> TrainReport | Evaluation:
    """Of a report what was agreed; under `privacy`, nothing that depends on the data."""
    return withheld(report, agreement.privacy.slices) if agreement.privacy else without(report, agreement.withheld)


def _entry(admitted: Admitted, leaving: Release, agreement: Agreement) -> dict[str, object]:
    """What the audit log says of an answer that leaves."""
    return {
        "direction": "out",
        "run": admitted.run,
        "round": admitted.round,
        "tensors": len(leaving.tensors),
        "bytes": sum(tensor.nbytes for tensor in leaving.tensors.values()),
        RELEASED: digest(leaving.tensors),
        "metrics": list(agreement.metrics),
        **leaving.note,
    }


def _turn(asked: rules.Question | Admitted, fl_ctx: FLContext) -> Turn:
    return Turn(fl_ctx.get_job_id(), asked.run, asked.agreed.digest(), asked.task, asked.round)


def _places(fl_ctx: FLContext) -> Places:
    workspace = fl_ctx.get_engine().get_workspace()
    return Places(Path(workspace.get_root_dir()), Path(workspace.get_site_config_dir()), fl_ctx.get_identity_name())


def _taken(message: Shareable) -> Shareable:
    """All that a message holds, taken out of it."""
    whole = Shareable()
    whole.update(message)
    message.clear()
    return whole


def _set(fl_ctx: FLContext, name: str, value: object) -> None:
    fl_ctx.set_prop(name, value, private=True, sticky=False)


def _failure(reason: Reason, code: str = ReturnCode.EXECUTION_EXCEPTION) -> Shareable:
    reply = make_reply(code)
    reply.set_header(REASON, str(reason))
    return reply


def _check_unchanged(result: Shareable, fingerprint: str | None, fl_ctx: FLContext) -> None:
    if _fingerprint(result, fl_ctx) != fingerprint:
        raise rules.refusal("the result was changed behind the gate", "what the gate let pass", Reason.CHANGED)


def _fingerprint(result: Shareable, fl_ctx: FLContext) -> str:
    """What a result says: all of it but the headers that FLARE itself adds on the way."""
    content = result.get(CONTENT)
    said = {name: value for name, value in result.items() if name not in (HEADERS, CONTENT)}
    headers = {name: value for name, value in result[HEADERS].items() if not _is_flares(name, value, fl_ctx)}
    tensors = "" if content is None else digest(content["data"]) + repr(content["meta"])
    return repr(said) + repr(sorted(headers.items())) + tensors


def _is_flares(name: str, value: object, fl_ctx: FLContext) -> bool:
    """Whether a header is one that FLARE adds to every answer, and says what FLARE says."""
    if name == ReservedHeaderKey.TASK_NAME:
        return value == fl_ctx.get_prop(FLContextKey.TASK_NAME)
    if name == ReservedHeaderKey.TASK_ID:
        return value == fl_ctx.get_prop(FLContextKey.TASK_ID)
    if name == ReservedHeaderKey.AUDIT_EVENT_ID:
        return isinstance(value, str) and (not value or bool(AUDIT_ID.fullmatch(value)))
    return name == ReservedHeaderKey.COOKIE_JAR and repr(value) == fl_ctx.get_prop(COOKIES)  # the server's, sent back
