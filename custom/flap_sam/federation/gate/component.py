"""The gate as a FLARE component. A site lists it in its own `privacy.json`, where no job can reach it.

FLARE adds it behind the job's components: it sees a task after every filter and before the executor, and a result
after every filter. It works on the message in place, and turns what it refuses or cannot judge into a failure.
"""

from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey, ProcessType, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from torch import Tensor

from flap_sam.errors import FlapSamError
from flap_sam.experiment import Experiment
from flap_sam.federation.gate import audit, ledger, rules
from flap_sam.federation.gate.agreement import CLIP, Agreement
from flap_sam.federation.gate.noise import epsilon, privatised
from flap_sam.federation.gate.rules import CONTENT, HEADERS, Admitted, refusal
from flap_sam.federation.gate.update import Base
from flap_sam.federation.messages import REASON, REFUSED, REPORT, TASK_TRAIN, clean_reason, to_meta, without
from flap_sam.site import Site
from flap_sam.training import quantise

LONGEST_REASON = 300
RETURN_CODES = frozenset(value for name, value in vars(ReturnCode).items() if name.isupper())
FLARE_HEADERS = frozenset(
    {
        ReservedHeaderKey.TASK_NAME,
        ReservedHeaderKey.TASK_ID,
        ReservedHeaderKey.COOKIE_JAR,
        ReservedHeaderKey.AUDIT_EVENT_ID,
    }
)


class Gate(FLComponent):
    """Lets in the tasks of agreed experiments, and out what their answers may hold; see `agreement.Agreement`."""

    def __init__(self) -> None:
        super().__init__()
        self._admitted: dict[str, Admitted] = {}
        self._released: dict[str, tuple[Shareable, str]] = {}
        self._bases: dict[Experiment, Base] = {}
        self._guards = {
            EventType.AFTER_TASK_DATA_FILTER: self._guard_task,
            EventType.AFTER_TASK_RESULT_FILTER: self._guard_result,
            EventType.BEFORE_SEND_TASK_RESULT: self._guard_released,
        }

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        guard = self._guards.get(event_type)
        if guard and fl_ctx.get_process_type() != ProcessType.SERVER_JOB:  # the simulator's server shares the policy
            guard(fl_ctx)

    def _guard_task(self, fl_ctx: FLContext) -> None:
        task = fl_ctx.get_prop(FLContextKey.TASK_DATA)
        try:
            self._admitted[_task_id(fl_ctx)] = self._admit(task, fl_ctx)
        except Exception as error:  # whatever it is: what the gate cannot judge does not pass
            reason = self._refuse("in", error, fl_ctx)
            for entry in set(task) - {HEADERS}:  # FLARE finds the answer's way back by the headers
                del task[entry]
            task.set_header(REFUSED, reason)

    def _guard_result(self, fl_ctx: FLContext) -> None:
        result = fl_ctx.get_prop(FLContextKey.TASK_RESULT)
        try:
            passed = self._release(result, fl_ctx)
        except Exception as error:
            passed = _failure(self._refuse("out", error, fl_ctx))
        result.clear()
        result.update(passed)
        self._released[_task_id(fl_ctx)] = result, _fingerprint(result)

    def _guard_released(self, fl_ctx: FLContext) -> None:
        """Nobody has changed a result since it passed."""
        result, fingerprint = self._released.pop(_task_id(fl_ctx), (None, ""))
        if result is None or _fingerprint(result) == fingerprint:
            return
        error = refusal("the result was changed behind the gate", "what the gate let pass")
        headers = {name: value for name, value in result[HEADERS].items() if name in FLARE_HEADERS}
        result.clear()
        result.update(_failure(self._refuse("out", error, fl_ctx)))
        result[HEADERS].update(headers)

    def _admit(self, task: Shareable, fl_ctx: FLContext) -> Admitted:
        """Check a task whole; raises a FlapSamError where it asks for what was not agreed to."""
        agreement = Agreement.read(_local(fl_ctx))
        asked = rules.question(fl_ctx.get_prop(FLContextKey.TASK_NAME), task, agreement)
        name = fl_ctx.get_identity_name()
        passed = rules.admitted(asked, self._base(asked.experiment.at(name), fl_ctx), name)
        with ledger.opened(_ledger_folder(fl_ctx)) as book:
            book.admit(passed.run, fl_ctx.get_job_id(), passed.task, passed.round)
        self._write(agreement, fl_ctx, {"direction": "in", "run": passed.run, "round": passed.round})
        return passed

    def _release(self, result: Shareable, fl_ctx: FLContext) -> Shareable:
        """What of a result may leave, in a message made anew; raises a FlapSamError where it must not."""
        agreement = Agreement.read(_local(fl_ctx))
        if (code := result.get_return_code(ReturnCode.OK)) != ReturnCode.OK:
            return self._failed(code, result, agreement, fl_ctx)
        task = self._admitted.pop(_task_id(fl_ctx), None)
        if task is None:
            raise refusal("there is a result, but no task was admitted", "none")
        tensors, report = rules.answer(result, task)
        tensors, note = _bounded(tensors, task, agreement)
        told = without(report, agreement.withheld)
        with ledger.opened(_ledger_folder(fl_ctx)) as book:
            book.admit(task.run, fl_ctx.get_job_id(), task.task, task.round)
            if agreement.privacy and task.task == TASK_TRAIN:
                tensors, spent = _noised(tensors, task, agreement, book)
                note |= spent
            book.note(task.run, fl_ctx.get_job_id(), task.task, task.round)
        released = {
            "direction": "out",
            "run": task.run,
            "round": task.round,
            "tensors": len(tensors),
            "bytes": sum(t.nbytes for t in tensors.values()),
            "sha256": audit.digest(tensors),
            "metrics": [name for name in agreement.metrics if hasattr(told, name)],
        }
        self._write(agreement, fl_ctx, released | note)
        model = FLModel(
            params_type=ParamsType.FULL, params=tensors, current_round=task.round, meta={REPORT: to_meta(told)}
        )
        return FLModelUtils.to_shareable(model)

    def _failed(self, code: str, result: Shareable, agreement: Agreement, fl_ctx: FLContext) -> Shareable:
        """A failure leaves as its code and one short sentence."""
        reason = clean_reason(result.get_header(REASON, ""))[:LONGEST_REASON]
        self._write(agreement, fl_ctx, {"direction": "out", "failure": reason})
        return _failure(reason, code if code in RETURN_CODES else ReturnCode.EXECUTION_EXCEPTION)

    def _base(self, experiment: Experiment, fl_ctx: FLContext) -> Base:
        """Where the experiment starts here; made once in a process."""
        if experiment not in self._bases:
            self._bases = {experiment: Base(experiment, _site(fl_ctx))}
        return self._bases[experiment]

    def _refuse(self, direction: str, error: Exception, fl_ctx: FLContext) -> str:
        """Log a refusal at the site; returns the sentence for the server."""
        public = error.public if isinstance(error, FlapSamError) else f"it failed with {type(error).__name__}"
        self.log_error(fl_ctx, f"REFUSED by the gate, {direction}: {error}", fire_event=False)
        try:
            agreement = Agreement.read(_local(fl_ctx))
        except FlapSamError:
            agreement = None
        self._write(agreement, fl_ctx, {"direction": direction, "refused": public})
        return f"refused by the site's gate: {public}"[:LONGEST_REASON]

    def _write(self, agreement: Agreement | None, fl_ctx: FLContext, entry: dict) -> None:
        own = agreement.audit if agreement else None
        path = own or Path(fl_ctx.get_engine().get_workspace().get_root_dir()) / audit.FILE_NAME
        task = clean_reason(fl_ctx.get_prop(FLContextKey.TASK_NAME))
        audit.write(path, {"job": fl_ctx.get_job_id(), "task": task, **entry})


def _bounded(tensors: dict[str, Tensor], task: Admitted, agreement: Agreement) -> tuple[dict[str, Tensor], dict]:
    """The tensors with their update no larger than agreed, and what the audit log says of it."""
    if task.task != TASK_TRAIN:
        return tensors, {}
    update = task.update(tensors)
    norm, largest = update.norm(), agreement.largest_update
    if norm <= largest:
        return tensors, {"norm": norm}
    if agreement.over != CLIP:
        raise refusal(f"the norm of the update is {norm:.4g}", f"at most {largest:g}, as the site has agreed")
    return _as_sent(update.clipped(largest), task), {"norm": norm, "clipped": largest}


def _noised(
    tensors: dict[str, Tensor], task: Admitted, agreement: Agreement, book: ledger.Ledger
) -> tuple[dict[str, Tensor], dict]:
    """The tensors with noise, once the budget has been found to suffice; the ledger counts them."""
    privacy = agreement.privacy
    spent = epsilon(book.releases(privacy.noise_multiplier, 1), privacy.delta)
    if spent > privacy.epsilon:
        raise refusal(f"the privacy budget is spent: one more update would cost epsilon {spent:.3g}", "no more updates")
    update = task.update(tensors)
    book.spend(privacy.noise_multiplier)
    return _as_sent(privatised(update.sent, update.base, privacy), task), {"epsilon": spent, "delta": privacy.delta}


def _as_sent(tensors: dict[str, Tensor], task: Admitted) -> dict[str, Tensor]:
    return quantise.up(tensors, task.own.payload_dtype, {}, {})[0]


def _task_id(fl_ctx: FLContext) -> str:
    return str(fl_ctx.get_prop(FLContextKey.TASK_ID))


def _local(fl_ctx: FLContext) -> Path:
    return Path(fl_ctx.get_engine().get_workspace().get_site_config_dir())


def _site(fl_ctx: FLContext) -> Site:
    return Site.read(_local(fl_ctx))


def _ledger_folder(fl_ctx: FLContext) -> Path:
    return _site(fl_ctx).state_root / "gate" / fl_ctx.get_identity_name()


def _failure(reason: str, code: str = ReturnCode.EXECUTION_EXCEPTION) -> Shareable:
    reply = make_reply(code)
    reply.set_header(REASON, reason)
    return reply


def _fingerprint(result: Shareable) -> str:
    """What a result says: all of it but the headers that FLARE itself adds on the way."""
    content = result.get(CONTENT)
    said = {name: value for name, value in result.items() if name not in (HEADERS, CONTENT)}
    headers = {name: value for name, value in result[HEADERS].items() if name not in FLARE_HEADERS}
    tensors = "" if content is None else audit.digest(content["data"]) + repr(content["meta"])
    return repr(said) + repr(headers) + tensors
