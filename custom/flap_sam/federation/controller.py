# SPDX-License-Identifier: Apache-2.0
"""The server's end of FLARE: the sites of a run are its clients, a task is its broadcast."""

import gc
import time
from collections.abc import Sequence
from pathlib import Path

from nvflare.apis.client import Client
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.workflows.model_controller import ModelController
from nvflare.app_opt.pt.decomposers import TensorDecomposer
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.memory_utils import cleanup_memory

from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError, Reason
from flap_sam.federation.artifacts import report_best, report_round, write_manifest
from flap_sam.federation.console import quiet, say
from flap_sam.federation.tracking import track
from flap_sam.foundation.files import writing
from flap_sam.records.results import RESULTS, read_scores
from flap_sam.records.round_log import RoundRecord
from flap_sam.records.run_record import FEDERATED
from flap_sam.rounds.answers import Answers
from flap_sam.rounds.loop import Run, Surroundings
from flap_sam.wire.exchange import Answer, Task
from flap_sam.wire.messages import REASON, REPORT, version_of

CHECK_SECONDS = 0.1

gc.freeze()  # what has been imported stays: the clean-up after every round need not look through it


class FlapSamController(ModelController):
    """Conducts a run over the connected clients; it is the run's `Sites`.

    Args:
        experiment: settings as `Experiment` names them.
        run_policy: settings as `RunPolicy` names them.
    """

    def __init__(self, experiment: dict[str, object], run_policy: dict[str, object] | None = None) -> None:
        super().__init__(persistor_id="", allow_empty_global_weights=True)
        fobs.register(TensorDecomposer)
        quiet()
        self._settings = experiment
        self._policy_settings = run_policy
        self._answers: Answers | None = None
        self._late: list[str] = []
        self._gone: set[str] = set()

    def run(self) -> None:
        try:
            self._run()
        except FlapSamError as error:
            if not self.abort_signal.triggered:
                self.panic(str(error))

    def _run(self) -> None:
        job, policy = Experiment.from_dict(self._settings), RunPolicy.from_dict(self._policy_settings)
        workspace = self.engine.get_workspace()
        site = Site.read(Path(workspace.get_site_config_dir()))
        results = Path(workspace.get_run_dir(self.fl_ctx.get_job_id())) / RESULTS  # part of what an admin downloads
        with writing(results):
            results.mkdir(parents=True, exist_ok=True)
        around = Surroundings(
            results=results,
            state=site.state_root,
            payloads=site.payloads,
            setting=FEDERATED,
            deployed=_is_deployed(self.fl_ctx),
            say=say,
            closed=self._closed,
        )
        Run(job, policy, self, around).run()
        report_best(self, self.fl_ctx, read_scores(results))
        write_manifest(results.parent)
        say(f"results in {results}; `flap-sam results` with this folder shows them as tables")

    def _closed(self, record: RoundRecord) -> None:
        track(self, self.fl_ctx, record)
        report_round(self, self.fl_ctx, record)
        cleanup_memory()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Remember whose process has ended; FLARE closes the tasks that wait for nobody else."""
        super().handle_event(event_type, fl_ctx)
        if event_type == EventType.CLIENT_DISCONNECTED:
            self._gone.add(fl_ctx.get_prop(FLContextKey.DISCONNECTED_CLIENT_NAME))
        elif event_type == EventType.CLIENT_RECONNECTED:
            self._gone.discard(fl_ctx.get_prop(FLContextKey.RECONNECTED_CLIENT_NAME))

    def connected(self) -> list[str]:
        return [client.name for client in self.engine.get_clients()]

    def scoring(self, trained: Sequence[str]) -> list[str]:
        return list(trained)

    def stopped(self) -> bool:
        return self.abort_signal.triggered

    def gone(self) -> set[str]:
        return self._gone

    def late(self) -> list[str]:
        late, self._late = self._late, []
        return late

    def ask(self, task: Task, asked: Sequence[str], answers: Answers) -> None:
        """FLARE's own waiting counts every answer, a failed one too; here usable ones alone count."""
        self._answers = answers
        self.send_model(task_name=task.name, data=message_of(task), targets=list(asked), callback=self._on_result)
        while self.get_num_standing_tasks():
            if answers.is_over():
                self.cancel_all_tasks()
            time.sleep(CHECK_SECONDS)

    @property
    def _current_answers(self) -> Answers:
        if self._answers is None:
            raise ValueError("a site answers before any task was sent")
        return self._answers

    def _on_result(self, result: FLModel) -> None:
        answer = Answer(result.current_round, result.params, result.meta.get(REPORT), version_of(result.meta))
        self._current_answers.take(result.meta["client_name"], answer)

    def _accept_train_result(
        self, client_name: str, result: Shareable, fl_ctx: FLContext, is_unknown_task: bool = False
    ) -> bool:
        """A site that failed says why by a code in a header; FLARE would drop it and end the run."""
        if result.get_return_code() not in (None, ReturnCode.OK):
            code = result.get_header(REASON)
            reason = Reason.of(code).sentence if code else f"FLARE says {result.get_return_code()}"
            self._current_answers.refuse(client_name, reason)
            return False
        return super()._accept_train_result(client_name, result, fl_ctx, is_unknown_task)

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """An answer that came after its task was closed is named in the log and dropped."""
        self._late.append(client.name)
        say(f"{client.name} answered too late; its answer is dropped")


def message_of(task: Task) -> FLModel:
    """A task as FLARE carries it."""
    return FLModel(
        params_type=ParamsType.FULL,
        params=dict(task.payload),
        current_round=task.round,
        total_rounds=task.rounds,
        meta=task.entries,
    )


def _is_deployed(fl_ctx: FLContext) -> bool:
    """Whether the server runs from a startup kit, and not in FLARE's simulator.

    FLARE tells every job whether its server has certificates; the simulator alone has none. Where nothing is told the
    stricter rules hold.
    """
    return fl_ctx.get_prop(FLContextKey.SECURE_MODE, True) is not False
