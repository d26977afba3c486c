# SPDX-License-Identifier: Apache-2.0
"""The door in front of FLARE's own cells, talking over TCP: a server, a hospital's two processes, another hospital."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.federation.door import rules
from flap_sam.federation.door.keeper import Keeper, hang
from flap_sam.federation.door.refusals import Refusals
from nvflare.fuel.f3.cellnet import cell as cell_module
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.cellnet.core_cell import CoreCell, TargetMessage
from nvflare.fuel.f3.cellnet.defs import Encoding, MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.cellnet.net_agent import NetAgent
from nvflare.fuel.f3.cellnet.utils import make_reply
from nvflare.fuel.f3.endpoint import Endpoint
from nvflare.fuel.f3.message import Message
from nvflare.private.admin_defs import Message as AdminMessage
from nvflare.private.fed.utils.fed_utils import nvflare_fobs_initialize

JOB = "0cfe6be3-8c8f-42f4-8766-ffc9dfbfd0ac"
SECONDS = 10


class Strangers(dict):
    """No cell finds another in this process: all of them speak over TCP, as they do between machines."""

    def __setitem__(self, name, cell) -> None:
        pass


def order(topic: str, **headers) -> Message:
    inside = AdminMessage(topic, "")
    inside.set_headers(headers)
    return Message({}, inside)


class House:
    """Cells of a federation; those of hospital-a behind a door.

    Attributes:
        written: the audit log; full: whether it cannot be written.
    """

    def __init__(self) -> None:
        self.written: list[dict] = []
        self.full = False
        self.heard: list[tuple[str, str]] = []
        self.judged: list[tuple[str, str, str, bool]] = []
        port = _free_port()
        root = f"tcp://localhost:{port}"
        self.server = self._cell("server", root, create_internal_listener=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cell_module, "CoreCell", self._guarded())
            self.parent = self._cell("hospital-a", root, create_internal_listener=True)
            inner = self.parent.core_cell.get_internal_listener_url()
            self.job = self._cell(f"hospital-a.{JOB}", root, parent_url=inner)
        inner = self.server.core_cell.get_internal_listener_url()
        self.server_job = self._cell(f"server.{JOB}", root, parent_url=inner)
        self.other = self._cell("hospital-b", root)
        self.cells = [self.other, self.job, self.server_job, self.parent, self.server]
        self.agents = [NetAgent(cell) for cell in (self.parent, self.job)]
        for cell in (self.parent, self.job):
            for channel in ("admin", "client_command", "aux_communication", "download_service__", "any", "*"):
                cell.register_request_cb(channel=channel, topic="*", cb=self._hear)
        peers = [(self.server, name) for name in ("hospital-a", "hospital-b", f"hospital-a.{JOB}", f"server.{JOB}")]
        for cell, name in [*peers, (self.parent, f"hospital-a.{JOB}")]:
            self.wait(lambda cell=cell, name=name: name in cell.core_cell.agents)

    def close(self) -> None:
        for agent in self.agents:
            agent.close()
        for cell in self.cells:
            cell.core_cell.stop()

    def wait(self, there: Callable[[], object]) -> None:
        end = time.monotonic() + SECONDS
        while not there():
            assert time.monotonic() < end, (self.judged[-5:], self.written[-5:])
            time.sleep(0.01)

    def passes(self, send: Callable[[], object]) -> bool:
        """What the door says to the first message that arrives of what is sent now."""
        self.judged.clear()
        send()
        self.wait(lambda: self.judged)
        return self.judged[0][-1]

    def write(self, entry: dict) -> None:
        if self.full:
            raise OSError("No space left on device")
        self.written.append(dict(entry))

    def _cell(self, name: str, root: str, **settings) -> Cell:
        cell = Cell(name, root, secure=False, credentials={}, **settings)
        cell.core_cell.start()
        return cell

    def _guarded(self) -> type[CoreCell]:
        class Guarded(CoreCell):
            pass

        keeper = self.keeper = Keeper((), self.write, Path("/nowhere"))
        admits = keeper.admits

        def noted(cell, endpoint, connection, message) -> bool:
            names = [message.get_header(key) for key in (MessageHeaderKey.CHANNEL, MessageHeaderKey.TOPIC)]
            verdict = admits(cell, endpoint, connection, message)
            self.judged.append((cell.get_fqcn(), *names, verdict))
            return verdict

        keeper.admits = noted
        hang(keeper, Guarded)
        return Guarded

    def _hear(self, message: Message) -> Message:
        topic = message.payload.topic if isinstance(message.payload, AdminMessage) else None
        heard = topic or message.get_header(MessageHeaderKey.TOPIC)
        self.heard.append((message.get_header(MessageHeaderKey.DESTINATION), heard))
        return make_reply(ReturnCode.OK)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def built() -> Iterator[House]:
    nvflare_fobs_initialize()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CoreCell, "ALL_CELLS", Strangers())
        house = House()
        yield house
        house.close()


@pytest.fixture
def house(built: House) -> House:
    built.full = False
    built.heard.clear()
    built.written.clear()
    built.keeper._refusals = Refusals(built.write)
    return built


STATUS = order("train.check_status", admin_command="check_status", require_authz="true")


def ask(sender: Cell, target: Cell, channel: str, topic: str, message: Message) -> str:
    reply = sender.core_cell.send_request(channel, topic, target.get_fqcn(), message, timeout=0.5)
    return reply.get_header(MessageHeaderKey.RETURN_CODE)


def test_the_server_is_answered_what_a_run_needs(house):
    assert ask(house.server, house.parent, "admin", "admin", STATUS) == ReturnCode.OK
    assert ask(house.job, house.parent, "admin", "x", order("train.notify_job_status", job_id=JOB)) == ReturnCode.OK
    assert ask(house.parent, house.job, "client_command", "abort", Message({}, {})) == ReturnCode.OK
    topics = ["train.check_status", "train.notify_job_status", "abort"]
    assert [topic for _, topic in house.heard] == topics
    house.server.register_request_cb(channel="task", topic="heart_beat", cb=lambda _: make_reply(ReturnCode.OK))
    assert ask(house.parent, house.server, "task", "heart_beat", Message()) == ReturnCode.OK


@pytest.mark.parametrize("topic", ["sys.shell", "train.delete_run", "train.shutdown", "train.restart", "sys.info"])
@pytest.mark.parametrize("sender", ["server", "other", "server_job", "job"])
def test_nobody_orders_what_no_run_needs(house, sender, topic):
    for envelope in ("admin", "train.check_status", topic):
        message = order(topic, job_id="local")
        assert ask(getattr(house, sender), house.parent, "admin", envelope, message) == ReturnCode.TIMEOUT
    assert house.heard == []
    assert any(topic in line["refused"] or "not listen" in line["refused"] for line in house.written)


def test_a_needed_order_from_another_hospital_is_refused(house):
    assert ask(house.other, house.parent, "admin", "admin", STATUS) == ReturnCode.TIMEOUT
    assert house.heard == []
    assert any(line.get("origin") == "hospital-b" for line in house.written)


def test_an_origin_is_not_believed(house):
    """Another hospital says it is the server, the job, itself: its line, and the table, say otherwise."""

    def forge(origin: str) -> bool:
        def filter_(message: Message) -> None:
            message.set_header(MessageHeaderKey.ORIGIN, origin)

        house.other.core_cell.out_req_filter_reg.set("any", "*", [])
        house.other.core_cell.add_outgoing_request_filter("any", "*", filter_)
        return house.passes(lambda: house.other.core_cell.fire_and_forget("any", "x", "hospital-a", Message()))

    assert not any(forge(o) for o in ("server", "hospital-a", f"hospital-a.{JOB}", f"server.{JOB}", "hospital-b", "x"))


@pytest.mark.parametrize("target", ["parent", "job"])
def test_a_specific_filter_of_somebody_else_leaves_the_door_shut(house, target):
    cell = getattr(house, target)
    seen = []
    for add in (cell.core_cell.add_incoming_filter, cell.core_cell.add_incoming_request_filter):
        add("aux_communication", "stolen", seen.append)
        add("admin", "stolen", seen.append)
    for channel in ("aux_communication", "admin"):
        for sender in (house.server, house.other):
            assert ask(sender, cell, channel, "stolen", order("sys.shell")) == ReturnCode.TIMEOUT
    assert house.heard == seen == []


@pytest.mark.parametrize("topic", ["peers", "stop", "stop_cell", "echo", "process_info", "change_root", "conns"])
def test_nobody_administers_the_cells(house, topic):
    for sender in (house.server, house.other, house.server_job):
        for target in (house.parent, house.job):
            assert not house.passes(
                lambda s=sender, t=target: s.core_cell.fire_and_forget("_net_manager", topic, t.get_fqcn(), Message())
            )
    assert all(cell.core_cell.running for cell in (house.parent, house.job))


def test_a_bulk_message_is_refused_whole(house):
    for sender in (house.server, house.other):
        for target in (house.parent, house.job):
            item = TargetMessage(target.get_fqcn(), "admin", "admin", order("sys.shell"))
            bulk = Message(None, [item.to_dict()])
            core, to = sender.core_cell, target.get_fqcn()
            assert not house.passes(lambda c=core, t=to, b=bulk: c.fire_and_forget("cellnet.channel", "bulk", t, b))
    assert house.heard == []


def test_frames_of_a_stream_that_no_run_needs_are_refused(house):
    for sender in (house.server, house.other, house.server_job):
        for target in (house.parent, house.job):
            send = {"channel": "aux_communication", "topic": "fed.event", "target": target.get_fqcn()}
            house.judged.clear()
            sender.send_request(**send, request=Message({}, {"a": 1}), timeout=0.5)
            assert house.judged
            assert not any(verdict for *_, verdict in house.judged)
    assert house.heard == []


def test_the_end_of_a_run_and_a_download_come_through(house):
    to = house.job.get_fqcn()
    for channel, topic in (("aux_communication", "__end_run__"), ("download_service__", "download_service__download")):
        reply = house.server_job.send_request(
            channel=channel, topic=topic, target=to, request=Message({}, {"a": 1}), timeout=5.0
        )
        assert reply.get_header(MessageHeaderKey.RETURN_CODE) == ReturnCode.OK
    assert [topic for _, topic in house.heard] == ["__end_run__", "download_service__download"]


def test_a_task_of_many_frames_comes_as_the_answer_to_a_request(house):
    weights = {"weights": b"1" * (5 << 20)}
    house.server_job.register_request_cb(
        channel="server_command", topic="get_task", cb=lambda _: Message({"cn__return_code": "ok"}, weights)
    )
    house.judged.clear()
    reply = house.job.send_request(
        channel="server_command", topic="get_task", target=f"server.{JOB}", request=Message({}, {}), timeout=10.0
    )
    assert reply.payload == weights
    assert len(house.judged) > 5
    assert all(verdict for *_, verdict in house.judged)


@pytest.mark.parametrize("kind", ["reply", "return"])
def test_an_answer_nobody_asked_for_is_not_even_decoded(house, kind, monkeypatch):
    decoded = []
    monkeypatch.setattr("nvflare.fuel.f3.cellnet.core_cell.decode_payload", lambda *message: decoded.append(message))
    envelope = {
        MessageHeaderKey.MSG_TYPE: kind,
        MessageHeaderKey.ORIGIN: "server",
        MessageHeaderKey.CHANNEL: "task",
        MessageHeaderKey.TOPIC: "heart_beat",
        MessageHeaderKey.REQ_ID: ["guessed"],
        MessageHeaderKey.ORIGINAL_HEADERS: {MessageHeaderKey.DESTINATION: "server"},
        MessageHeaderKey.PAYLOAD_ENCODING: Encoding.FOBS,
    }
    for target in (house.parent, house.job):
        message = Message(envelope | {MessageHeaderKey.DESTINATION: target.get_fqcn()}, b"rubbish")
        endpoint = house.server.core_cell.agents[target.get_fqcn()].endpoint
        assert not house.passes(lambda e=endpoint, m=message: house.server.core_cell.communicator.send(e, 1, m))
    assert decoded == []


def test_an_address_to_connect_to_is_refused(house):
    def offer(message: Message) -> None:
        message.set_header(MessageHeaderKey.CONN_URL, "tcp://localhost:9")

    house.server.core_cell.add_outgoing_request_filter("admin", "with an address", offer)
    assert ask(house.server, house.parent, "admin", "with an address", STATUS) == ReturnCode.TIMEOUT
    assert house.parent.core_cell.adhoc_connectors == {}


def test_a_door_that_fails_lets_nothing_pass(house, monkeypatch):
    monkeypatch.setattr(rules, "judge", lambda *_: 1 / 0)
    assert ask(house.server, house.parent, "admin", "admin", STATUS) == ReturnCode.TIMEOUT
    assert house.heard == []
    assert any(line["refused"] == "the door failed with ZeroDivisionError" for line in house.written)


def test_an_order_that_cannot_be_read_does_not_pass(house):
    for payload in (None, "text", {"topic": "train.check_status"}, b"bytes"):
        assert ask(house.server, house.parent, "admin", "admin", Message({}, payload)) == ReturnCode.TIMEOUT
    secret = order("train.check_status", admin_command="check_status", require_authz="true")
    house.server.core_cell.add_outgoing_request_filter(
        "admin", "encrypted", lambda message: message.set_header(MessageHeaderKey.ENCRYPTED, True)
    )
    assert ask(house.server, house.parent, "admin", "encrypted", secret) == ReturnCode.TIMEOUT
    assert house.heard == []


def test_without_an_audit_log_nothing_passes_and_nothing_is_forgotten(house):
    house.full = True
    assert ask(house.server, house.parent, "admin", "admin", order("sys.shell", unwritten="x")) == ReturnCode.TIMEOUT
    ask(house.server, house.parent, "unheard of", "before", Message())
    for target in (house.parent, house.job):
        assert ask(house.server, target, "cellnet.channel", "bye", Message()) == ReturnCode.TIMEOUT
    assert ask(house.server, house.parent, "admin", "admin", STATUS) == ReturnCode.TIMEOUT
    assert house.heard == []
    house.full = False
    assert ask(house.server, house.parent, "admin", "admin", STATUS) == ReturnCode.OK
    assert any(line.get("channel") == "unheard of" for line in house.written)


def test_a_flood_leaves_few_lines(house):
    house.judged.clear()
    for i in range(300):
        house.other.core_cell.fire_and_forget("flood", f"t{i % 100}", "hospital-a", Message())
    house.wait(lambda: len(house.judged) >= 300)
    assert not any(verdict for *_, verdict in house.judged)
    assert len(house.written) <= 60


def test_flares_connections_hand_messages_to_nothing_but_the_doors_method(house):
    for cell in (house.parent, house.job):
        receivers = cell.core_cell.communicator.conn_manager.receivers
        assert list(receivers.values()) == [cell.core_cell]
        assert "process_message" not in vars(cell.core_cell)
        assert "process_message" in vars(type(cell.core_cell))


def test_a_message_of_this_process_to_itself_comes_on_no_line(house):
    message = Message({MessageHeaderKey.MSG_TYPE: "req", MessageHeaderKey.ORIGIN: "server"})
    message.add_headers({MessageHeaderKey.DESTINATION: "hospital-a", MessageHeaderKey.CHANNEL: "admin"})
    assert not house.passes(
        lambda: house.parent.core_cell.process_message(Endpoint("server"), None, CoreCell.APP_ID, message)
    )


def test_another_way_to_receive_messages_is_told():
    class Changed(CoreCell):
        def process_message(self, endpoint, message) -> None:
            pass

    with pytest.raises(FlapSamError, match="cannot be shut"):
        hang(Keeper((), lambda _: None, Path("/nowhere")), Changed)
