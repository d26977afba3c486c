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

from flap_sam.errors import FlapSamError
from flap_sam.experiment import Experiment
from flap_sam.federation import payload
from flap_sam.federation.console import quiet
from flap_sam.federation.messages import (
    EXPERIMENT,
    REASON,
    REPORT,
    TASK_EVALUATE,
    TASK_TRAIN,
    EvaluationReport,
    TrainReport,
    to_meta,
)
from flap_sam.site import Site
from flap_sam.training.evaluate import mean_by_class
from flap_sam.training.participant import Participant, assign

STATE_FILE = "training_state.safetensors"


class FlapSamExecutor(Executor):
    """Scores and trains the payloads that the server sends.

    Nothing is needed in memory between two tasks: the optimizer is kept in the run folder.

    Args:
        demo: a procedural source to work on where the site has no data configured; None means that is an error.
    """

    def __init__(self, demo: str | None = None) -> None:
        super().__init__()
        fobs.register(TensorDecomposer)
        quiet()
        self._demo = demo
        self._participant: Participant | None = None
        self._job_experiment: Experiment | None = None

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        work = {TASK_TRAIN: self._train, TASK_EVALUATE: self._evaluate}.get(task_name)
        if work is None:
            return make_reply(ReturnCode.TASK_UNKNOWN)
        try:
            return FLModelUtils.to_shareable(work(FLModelUtils.from_shareable(shareable), fl_ctx, abort_signal))
        except FlapSamError as error:
            self.log_error(fl_ctx, str(error))
            return _failure(error.public)
        except Exception as error:  # whatever it says may name files: only its kind leaves the site
            self.log_exception(fl_ctx, "The task failed")
            return _failure(f"the site failed with {type(error).__name__}; its own log says why")

    def _train(self, task: FLModel, fl_ctx: FLContext, abort_signal: Signal) -> FLModel:
        participant = self._ready(task, fl_ctx)
        start_digest = "" if task.params else participant.digest()
        validation = participant.score("validation")
        tensors, result = participant.train(task.current_round, lambda: abort_signal.triggered)
        report = TrainReport(
            experiment=participant.experiment.to_json(),
            start_digest=start_digest,
            slices=participant.slices,
            loss=result.loss,
            steps=result.steps,
            seconds=result.seconds,
            validation=mean_by_class(validation, participant.experiment.classes),
            demo=participant.assignment.demo,
            pretrained=participant.pretrained,
            labels=participant.labels_digest(),
        )
        return FLModel(
            params_type=ParamsType.FULL,
            params=tensors,
            current_round=task.current_round,
            meta={REPORT: to_meta(report)},
        )

    def _evaluate(self, task: FLModel, fl_ctx: FLContext, abort_signal: Signal) -> FLModel:
        participant = self._ready(task, fl_ctx)
        validation, test = participant.score("validation"), participant.score("test")
        classes = participant.experiment.classes
        report = EvaluationReport(
            validation=mean_by_class(validation, classes),
            validation_cases=len(validation),
            test=mean_by_class(test, classes),
            test_cases=len(test),
        )
        return FLModel(
            params_type=ParamsType.FULL, params={}, current_round=task.current_round, meta={REPORT: to_meta(report)}
        )

    def _ready(self, task: FLModel, fl_ctx: FLContext) -> Participant:
        """The participant for the task's experiment, with the task's payload in its network."""
        experiment = Experiment.from_json(task.meta.get(EXPERIMENT))
        if self._participant is None or experiment != self._job_experiment:
            self._participant = self._join(experiment, fl_ctx)
            self._job_experiment = experiment
        if task.params:
            expected = payload.template(self._participant.experiment)
            self._participant.receive(payload.check(task.params, expected))
        return self._participant

    def _join(self, experiment: Experiment, fl_ctx: FLContext) -> Participant:
        workspace = fl_ctx.get_engine().get_workspace()
        site = Site.read(Path(workspace.get_site_config_dir()))
        assignment = assign(site, fl_ctx.get_identity_name(), self._demo)
        if assignment.demo:
            self.log_info(fl_ctx, f"No data is configured here; the site works on the demo {assignment.store.folder}.")
        state_file = Path(workspace.get_run_dir(fl_ctx.get_job_id())) / STATE_FILE
        participant = Participant(experiment, site, assignment, state_file)
        fates = participant.load_report
        self.log_info(
            fl_ctx,
            f"{participant.experiment.backbone}: {len(fates.loaded)} tensors loaded from the checkpoint, "
            f"{len(fates.resized)} resized, {len(fates.started_anew)} started anew.",
        )
        return participant


def _failure(reason: str) -> Shareable:
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply.set_header(REASON, reason)
    return reply
