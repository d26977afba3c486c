# SPDX-License-Identifier: Apache-2.0
"""A server and a site that break every agreement; laid into their own kits, as only their owners could."""

import json
import time
from pathlib import Path

import torch
from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.federation.controller import FlapSamController, message_of
from flap_sam.federation.executor import FlapSamExecutor
from flap_sam.records.results import RESULTS
from flap_sam.rounds.answers import Answers
from flap_sam.wire.exchange import Answer
from flap_sam.wire.messages import EXPERIMENT, REPORT, RUN, TASK_EVALUATE, TASK_TRAIN
from nvflare.apis.event_type import EventType
from nvflare.app_common.abstract.fl_model import FLModel

BACKBONE = "image_encoder.pos_embed"


class HostileExecutor(FlapSamExecutor):
    """Trains as it should, and spoils what it sends: in another way in every round.

    Args:
        tricks: by round, as text.
    """

    def __init__(self, tricks: dict[str, str]) -> None:
        super().__init__()
        self._tricks = tricks
        self._trick = ""

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        number = shareable.get_header("current_round")
        self._trick = self._tricks.get(str(number), "") if task_name == TASK_TRAIN else ""
        reply = super().execute(task_name, shareable, fl_ctx, abort_signal)
        if self._trick and "DXO" in reply:
            getattr(self, f"_{self._trick}")(reply)
        return reply

    def handle_event(self, event_type, fl_ctx) -> None:
        if event_type == EventType.BEFORE_SEND_TASK_RESULT and self._trick == "behind":
            self._kept["image"] = "pixels"

    def _nan(self, reply) -> None:
        name = next(iter(reply["DXO"]["data"]))
        reply["DXO"]["data"][name] = torch.full_like(reply["DXO"]["data"][name], float("nan"))

    def _backbone(self, reply) -> None:
        reply["DXO"]["data"][BACKBONE] = torch.zeros(1, 2, 2, 128)

    def _huge(self, reply) -> None:
        data = reply["DXO"]["data"]
        reply["DXO"]["data"] = {n: 10 * t if n.endswith((".A", ".B")) else t for n, t in data.items()}

    def _pixels(self, reply) -> None:
        data = reply["DXO"]["data"]
        reply["DXO"]["data"] = {
            n: torch.rand_like(t) if n.endswith(".A") else t * 0 if n.endswith(".B") else t for n, t in data.items()
        }

    def _metric(self, reply) -> None:
        reply["DXO"]["meta"][REPORT]["age"] = 57.0

    def _text(self, reply) -> None:
        reply["DXO"]["meta"][REPORT]["labels"] = "a patient's name"

    def _header(self, reply) -> None:
        reply.set_header("image", "pixels")

    def _entry(self, reply) -> None:
        reply["image"] = "pixels"

    def _behind(self, reply) -> None:
        self._kept = reply


class HostileController(FlapSamController):
    """Before its rounds it asks the sites for what they never agreed to, and writes down what comes back."""

    def ask(self, task, asked, answers):
        if task.name == TASK_TRAIN and task.round == 1:
            found = {name: self._attack(kind, m, asked) for name, (kind, m) in self._attacks(task).items()}
            run = Path(self.engine.get_workspace().get_run_dir(self.fl_ctx.get_job_id()))
            (run / RESULTS / "answers.json").write_text(json.dumps(found))
        super().ask(task, asked, answers)

    def _attacks(self, asked_for) -> dict[str, tuple[str, FLModel]]:
        def task(**changes) -> FLModel:
            message = message_of(asked_for)
            for name, value in changes.items():
                setattr(message, name, value)
            return message

        good = message_of(asked_for)
        first = next(iter(good.params))
        other = Experiment.from_json(good.meta[EXPERIMENT]).changed(method="fullft").to_json()
        return {
            "backbone": (TASK_TRAIN, task(params={**good.params, BACKBONE: torch.zeros(1, 2, 2, 128)})),
            "shape": (TASK_TRAIN, task(params={**good.params, first: torch.zeros(3, 3)})),
            "nan": (TASK_TRAIN, task(params={**good.params, first: torch.full_like(good.params[first], float("nan"))})),
            "huge": (TASK_EVALUATE, task(params={n: 1000 * t for n, t in good.params.items()})),
            "run": (TASK_TRAIN, task(meta={**good.meta, RUN: "another-run"})),
            "experiment": (TASK_TRAIN, task(meta={**good.meta, EXPERIMENT: other})),
            "replayed": (TASK_TRAIN, task(current_round=0, params={})),
            "far": (TASK_TRAIN, task(current_round=10**6)),
            "entry": (TASK_TRAIN, task(meta={**good.meta, "extra": "text"})),
            "empty": (TASK_EVALUATE, task(params={})),
        }

    def _attack(self, kind: str, message: FLModel, asked) -> dict[str, str]:
        """The sites' refusals; whatever else a site answers is a leak."""
        leaks: dict[str, str] = {}

        def leaked(site: str, _: Answer) -> bool:
            leaks[site] = "LEAKED"
            return True

        self._answers = Answers(asked, RunPolicy(), 0, leaked, self.stopped, self.gone, print)
        self.send_model(task_name=kind, data=message, targets=asked, callback=self._on_result)
        while self.get_num_standing_tasks():
            time.sleep(0.1)
        return self._answers.refused | leaks
