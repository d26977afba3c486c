# SPDX-License-Identifier: Apache-2.0
"""A site's end of the wire: takes a task, lets the participant work, sends back what may leave."""

import gc
from functools import partial
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
from flap_sam.training.member import Member
from flap_sam.training.participant import Participant, assign
from flap_sam.wire.exchange import Answer, Task
from flap_sam.wire.messages import EXPERIMENT, REASON, REFUSED, RUN, TASK_EVALUATE, TASK_TRAIN, version_of

gc.freeze()  # what has been imported stays: the clean-up after every task need not look through it


class FlapSamExecutor(Executor):
    """Hands the server's tasks to the site's `Member`.

    Args:
        demo: the phantom to work on where the site has no data configured; None means that is an error.
    """

    def __init__(self, demo: str | None = None) -> None:
        super().__init__()
        fobs.register(TensorDecomposer)
        quiet()
        self._demo = demo
        self._member: Member | None = None

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        if task_name not in (TASK_TRAIN, TASK_EVALUATE):
            return make_reply(ReturnCode.TASK_UNKNOWN)
        if refused := shareable.get_header(REFUSED):  # by the site's gate
            return _failure(Reason.of(refused))
        try:
            return _message(self._answer(_task(task_name, shareable), fl_ctx, abort_signal))
        except FlapSamError as error:
            self.log_error(fl_ctx, str(error), fire_event=False)  # FLARE would show it to every administrator
            return _failure(error.reason)
        except Exception:  # whatever it says stays in the site's log
            self.log_exception(fl_ctx, "The task failed")
            return _failure(Reason.STOPPED)
        finally:
            cleanup_memory()

    def _answer(self, task: Task, fl_ctx: FLContext, abort_signal: Signal) -> Answer:
        self._member = self._member or Member(partial(self._join, fl_ctx=fl_ctx))
        if task.name == TASK_TRAIN:
            return self._member.train(task, lambda: abort_signal.triggered, say)
        folder = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
        return self._member.score(task, folder / FOLDER, folder)

    def _join(self, experiment: Experiment, run: str, fl_ctx: FLContext) -> Participant:
        site = Site.read(Path(fl_ctx.get_engine().get_workspace().get_site_config_dir()))
        name = fl_ctx.get_identity_name()
        assignment = assign(site, name, self._demo)
        if assignment.demo:
            self.log_info(fl_ctx, f"No data is configured here; the site works on the demo {assignment.store.folder}.")
        participant = Participant(experiment, site, assignment, name, run)
        fates = participant.load_report
        self.log_info(
            fl_ctx,
            f"{participant.experiment.backbone} from {participant.weights}: {len(fates.loaded)} tensors loaded, "
            f"{len(fates.resized)} resized, {len(fates.started_anew)} started anew.",
        )
        return participant


def _task(name: str, shareable: Shareable) -> Task:
    model = FLModelUtils.from_shareable(shareable)
    said = model.meta
    return Task(
        name,
        said.get(EXPERIMENT),
        said.get(RUN),
        model.current_round,
        model.total_rounds,
        model.params or {},
        version_of(said),
    )


def _message(answer: Answer) -> Shareable:
    model = FLModel(
        params_type=ParamsType.FULL,
        params=answer.update,
        current_round=answer.round,
        meta=answer.entries,
    )
    return FLModelUtils.to_shareable(model)


def _failure(reason: Reason) -> Shareable:
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply.set_header(REASON, str(reason))
    return reply
