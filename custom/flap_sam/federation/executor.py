"""A site's end of the wire: takes a task, lets the participant work, sends back what may leave."""

from pathlib import Path

from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_opt.pt.decomposers import TensorDecomposer
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.memory_utils import cleanup_memory

from flap_sam.config.experiment import Experiment
from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError, Reason
from flap_sam.federation.console import quiet, say
from flap_sam.records.pictures import FOLDER
from flap_sam.training.evaluate import evaluation, mean_by_class, write_cases
from flap_sam.training.participant import Participant, assign
from flap_sam.wire import payload
from flap_sam.wire.messages import (
    EXPERIMENT,
    REASON,
    REFUSED,
    REPORT,
    RUN,
    TASK_EVALUATE,
    TASK_TRAIN,
    TrainReport,
    clean_reason,
    run_name,
    to_meta,
)


class FlapSamExecutor(Executor):
    """Scores and trains the payloads that the server sends.

    Nothing is needed in memory between two tasks: the site keeps its state on disk (see `training.site_state`).

    Args:
        demo: a procedural source to work on where the site has no data configured; None means that is an error.
    """

    def __init__(self, demo: str | None = None) -> None:
        super().__init__()
        fobs.register(TensorDecomposer)
        quiet()
        self._demo = demo
        self._participant: Participant | None = None
        self._joined: tuple[Experiment, str] | None = None

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        work = {TASK_TRAIN: self._train, TASK_EVALUATE: self._evaluate}.get(task_name)
        if work is None:
            return make_reply(ReturnCode.TASK_UNKNOWN)
        if refused := shareable.get_header(REFUSED):  # by the site's gate
            return _failure(Reason.of(refused))
        try:
            return FLModelUtils.to_shareable(work(FLModelUtils.from_shareable(shareable), fl_ctx, abort_signal))
        except FlapSamError as error:
            self._joined = None  # whatever stands half done: the next task starts from the site's state
            self.log_error(fl_ctx, str(error), fire_event=False)  # FLARE would show it to every administrator
            return _failure(error.reason)
        except Exception:  # whatever it says stays in the site's log
            self._joined = None
            self.log_exception(fl_ctx, "The task failed")
            return _failure(Reason.STOPPED)
        finally:
            cleanup_memory()

    def _train(self, task: FLModel, fl_ctx: FLContext, abort_signal: Signal) -> FLModel:
        participant = self._ready(task, fl_ctx, training=True)
        participant.stand_before(task.current_round)
        validation = participant.score("validation")
        tensors, result = participant.train(task.current_round, lambda: abort_signal.triggered, say)
        report = TrainReport(
            experiment=participant.experiment.to_json(),
            start_digest=participant.start_digest,
            frozen_digest=participant.frozen_digest,
            slices=participant.slices,
            loss=result.loss,
            steps=result.steps,
            seconds=result.seconds,
            validation=mean_by_class([s.dice for s in validation], participant.experiment.classes),
            demo=participant.assignment.demo,
            weights=participant.weights.origin,
            labels=participant.labels_digest(),
        )
        return FLModel(
            params_type=ParamsType.FULL,
            params=tensors,
            current_round=task.current_round,
            meta={REPORT: to_meta(report)},
        )

    def _evaluate(self, task: FLModel, fl_ctx: FLContext, abort_signal: Signal) -> FLModel:
        participant = self._ready(task, fl_ctx, training=False)
        participant.stand_to_score(task.current_round)
        run_folder = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
        gallery = participant.gallery(run_folder / FOLDER, task.current_round)
        validation, test = participant.score("validation"), participant.score("test", gallery)
        if gallery:
            gallery.write()
        write_cases(run_folder / f"test_cases_round_{task.current_round:05}.csv", test)
        report = evaluation(validation, test, participant.experiment.classes)
        return FLModel(
            params_type=ParamsType.FULL, params={}, current_round=task.current_round, meta={REPORT: to_meta(report)}
        )

    def _ready(self, task: FLModel, fl_ctx: FLContext, training: bool) -> Participant:
        """The participant for the task's run, with the task's payload in its network.

        One that has trained a round cannot train it again: a new one takes up the state from before it.
        """
        experiment = Experiment.from_json(task.meta.get(EXPERIMENT))
        _check_round(task.current_round, experiment)
        run = run_name(task.meta.get(RUN))
        done_before = self._participant is not None and self._participant.has_trained(task.current_round)
        if (experiment, run) != self._joined or (training and done_before):
            self._participant, self._joined = self._join(experiment, run, fl_ctx), (experiment, run)
        if task.params:
            expected = payload.types_down(self._participant.experiment)
            self._participant.receive(payload.check(task.params, expected))
        return self._participant

    def _join(self, experiment: Experiment, run: str, fl_ctx: FLContext) -> Participant:
        site = Site.read(Path(fl_ctx.get_engine().get_workspace().get_site_config_dir()))
        name = fl_ctx.get_identity_name()
        assignment = assign(site, name, self._demo)
        if assignment.demo:
            self.log_info(fl_ctx, f"No data is configured here; the site works on the demo {assignment.store.folder}.")
        participant = Participant(experiment, site, assignment, name, run)
        participant.claim_data()
        fates = participant.load_report
        self.log_info(
            fl_ctx,
            f"{participant.experiment.backbone} from {participant.weights}: {len(fates.loaded)} tensors loaded, "
            f"{len(fates.resized)} resized, {len(fates.started_anew)} started anew.",
        )
        return participant


def _check_round(number: object, experiment: Experiment) -> None:
    if type(number) is not int or not 0 <= number <= experiment.rounds:
        raise FlapSamError(
            f"The task's round is {clean_reason(repr(number))}; expected 0 to {experiment.rounds}.", Reason.TASK
        )


def _failure(reason: Reason) -> Shareable:
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply.set_header(REASON, str(reason))
    return reply
