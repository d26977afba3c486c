# SPDX-License-Identifier: Apache-2.0
"""A site that fails in another way in every round; it goes with a job as its own code."""

import os
import time
from pathlib import Path

import torch
from flap_sam.federation.executor import FlapSamExecutor
from flap_sam.wire.messages import REPORT, TASK_TRAIN
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from safetensors.torch import save_file


class FaultyExecutor(FlapSamExecutor):
    """Works as it should, but for one site's faults; what every site received and sent is kept for the test.

    Args:
        site: who fails.
        faults: by round, as text: how.
        asleep: seconds that the silent one sleeps.
        kept: folder for the tensors of every round.
    """

    def __init__(self, site: str, faults: dict[str, str], asleep: float, kept: str, demo: str | None = None) -> None:
        super().__init__(demo)
        self._site, self._faults, self._asleep, self._kept = site, faults, asleep, Path(kept)
        self._fault = ""

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        site, task = fl_ctx.get_identity_name(), FLModelUtils.from_shareable(shareable)
        number = task.current_round
        self._fault = ""
        if task_name == TASK_TRAIN:
            self._keep("received", site, number, task.params)
            self._fault = self._faults.get(str(number), "") if site == self._site else ""
        if self._fault == "dies":
            os._exit(1)
        if self._fault == "raises":
            raise RuntimeError(f"a bug that names {'_'.join(('patient', '7'))}")
        if self._fault == "silent":
            time.sleep(self._asleep)
        reply = super().execute(task_name, shareable, fl_ctx, abort_signal)
        if task_name != TASK_TRAIN:
            return reply
        result = FLModelUtils.from_shareable(reply)
        self._spoil(result)
        self._keep("sent", site, number, result.params)
        return FLModelUtils.to_shareable(result) if self._fault else reply

    def handle_event(self, event_type, fl_ctx) -> None:
        if event_type == EventType.AFTER_SEND_TASK_RESULT and self._fault == "twice":
            self._fault = ""
            fl_ctx.get_engine().send_task_result(fl_ctx.get_prop(FLContextKey.TASK_RESULT), fl_ctx, timeout=10)

    def _spoil(self, result: FLModel) -> None:
        name = next(iter(result.params), "")
        if self._fault == "nan":
            result.params[name] = torch.full_like(result.params[name], float("nan"))
        elif self._fault == "shape":
            result.params[name] = result.params[name][:-1].clone()
        elif self._fault == "extra":
            result.params["image_encoder.pos_embed"] = torch.zeros(3)
        elif self._fault == "huge":
            result.params = {n: 100 * t if n.endswith(".B") else t for n, t in result.params.items()}
        elif self._fault == "stale":
            result.current_round -= 1
        elif self._fault == "greedy":
            result.meta[REPORT]["slices"] = 10**6

    def _keep(self, kind: str, site: str, number: int, tensors: dict) -> None:
        save_file({n: t.contiguous() for n, t in tensors.items()}, self._kept / f"{kind}_{site}_{number}.safetensors")
