# SPDX-License-Identifier: Apache-2.0
"""What stands inside an order: as FLARE's server makes it, it passes; made to do more, it does not."""

import io
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from flap_sam.federation.door import orders
from flap_sam.federation.door.rules import Refused
from nvflare.apis.fl_context import FLContextManager
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.utils.fl_context_utils import gen_new_peer_ctx
from nvflare.apis.workspace import Workspace
from nvflare.fuel.f3.cellnet.defs import Encoding, MessageHeaderKey
from nvflare.fuel.f3.message import Message
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.fobs.datum import Datum
from nvflare.private.admin_defs import Message as AdminMessage
from nvflare.private.fed.server.job_runner import JobRunner
from nvflare.private.fed.server.server_engine import ServerEngine
from nvflare.private.fed.utils.fed_utils import nvflare_fobs_initialize

JOB, OTHER_JOB = "0cfe6be3-8c8f-42f4-8766-ffc9dfbfd0ac", "d61d3206-d2e3-49eb-83f7-3617fde3d583"
META = {"job_id": JOB, "scope": "flap_sam", "resource_spec": {}, "submitter_name": "lead", "name": "job"}


@pytest.fixture(autouse=True, scope="module")
def _initialised() -> None:
    nvflare_fobs_initialize()


def app(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names or ("config/config_fed_client.json",):
            archive.writestr(name, "{}")
    return stream.getvalue()


def job(**changes) -> SimpleNamespace:
    return SimpleNamespace(job_id=JOB, meta=META | changes)


def sent(order: object, **headers) -> Message:
    envelope = {MessageHeaderKey.PAYLOAD_ENCODING: Encoding.FOBS} | headers
    return Message(envelope, memoryview(fobs.dumps(order)))


def deploy(body: object, **changes) -> AdminMessage:
    return JobRunner._make_deploy_message(job(**changes), body, "app", None)


def start(**changes) -> AdminMessage:
    order = AdminMessage("train.start_job", {})
    order.set_headers({"job_id": JOB, "job_meta": META | changes})
    return order


def judged(order: AdminMessage, kit: Path = Path("/nowhere")) -> None:
    orders.judge_job(orders.opened(sent(order)), kit)


@pytest.mark.parametrize("order", [start(**{JobMetaKey.STATUS: "x", JobMetaKey.JOB_ID: JOB}), start()])
def test_a_description_whose_keys_are_flares_names_passes(order):
    """As FLARE's server keeps it: names of `JobMetaKey` as keys, which travel as objects."""
    judged(order)


def test_a_job_is_deployed_once_since_flare_removes_what_its_folder_holds(tmp_path):
    judged(deploy(app()), tmp_path)
    (tmp_path / JOB).mkdir()
    with pytest.raises(Refused, match="would remove its folder"):
        judged(deploy(app()), tmp_path)
    judged(start(), tmp_path)
    (tmp_path / JOB).rmdir()
    (tmp_path / JOB).symlink_to(tmp_path / "nowhere")
    with pytest.raises(Refused, match="would remove its folder"):
        judged(deploy(app()), tmp_path)


def test_the_servers_own_orders_pass():
    asks = ServerEngine._make_message_for_check_resource(None, job(), {"num_of_gpus": 1}, None)
    stickers = {"fqsn": "server", "is_leaf": True}
    context = FLContextManager(identity_name="server", job_id="", public_stickers=stickers).new_context()
    for order in (deploy(app()), start(), asks, AdminMessage("train.check_status", "")):
        order.set_header("peer", gen_new_peer_ctx(context))
        judged(order)


def test_what_flare_acts_by_is_what_was_read():
    message = sent(start())
    read = orders.opened(message)
    again = fobs.loads(message.payload)
    assert (again.topic, again.headers, again.body) == (read.topic, read.headers, read.body)


@pytest.mark.parametrize("make", [lambda **meta: deploy(app(), **meta), start])
@pytest.mark.parametrize(
    "changes",
    [
        {"job_id": OTHER_JOB},
        {"job_id": "local"},
        {"job_id": None},
        {"launcher_spec": "x"},
        {"launcher_spec": {"default": {"docker": {"image": "x"}}}},
        {"stats_pool_config": {"save_pools": ["*"]}},
    ],
)
def test_a_job_is_described_as_the_order_names_it_and_needs_no_more(make, changes):
    judged(make())
    with pytest.raises(Refused, match="the job's description"):
        judged(make(**changes))


def test_a_job_without_a_description_does_not_start():
    order = start()
    del order.headers["job_meta"]
    with pytest.raises(Refused, match="another job"):
        judged(order)


@pytest.mark.parametrize("name", ["custom/sitecustomize.py", "config/comm_config.json", "config/x.py"])
def test_an_app_brings_nothing_beside_its_configuration(name):
    with pytest.raises(Refused, match="may not come in"):
        judged(deploy(app("config/config_fed_client.json", name)))


def test_what_decoding_would_do_more_with_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(orders, "decode_payload", lambda _: pytest.fail("decoded"))
    for name in ("startup", "local"):
        (tmp_path / name).mkdir()
    found = [np.float64(1), np.zeros(3), Workspace(str(tmp_path)), {"deep": [{"deeper": {1, 2}}]}]
    for value in found:
        order = AdminMessage("train.check_status", value)
        with pytest.raises(Refused, match=r"which no order needs|attached"):
            orders.opened(sent(order))


@pytest.mark.parametrize("make", [Datum.blob_datum, lambda text: Datum.text_datum(text.decode())])
def test_nothing_is_attached(make):
    with pytest.raises(Refused, match=r"attached|which no order needs"):
        orders.opened(sent(AdminMessage("train.check_status", {"big": make(b"x" * 2000)})))
    whole = fobs.dumps(AdminMessage("train.check_status", ""))
    envelope = {MessageHeaderKey.PAYLOAD_ENCODING: Encoding.FOBS}
    with pytest.raises(Refused, match="attached"):
        orders.opened(Message(envelope, whole + whole))


@pytest.mark.parametrize("payload", [b"", b"short", b"d\0" + b"\xff" * 40, fobs.dumps({"topic": "x"})])
def test_what_is_no_order_is_refused(payload):
    with pytest.raises(Refused):
        orders.opened(Message({MessageHeaderKey.PAYLOAD_ENCODING: Encoding.FOBS}, payload))


@pytest.mark.parametrize("headers", [{MessageHeaderKey.ENCRYPTED: True}, {MessageHeaderKey.PAYLOAD_ENCODING: "bytes"}])
def test_what_the_door_cannot_read_is_refused(headers):
    with pytest.raises(Refused):
        orders.opened(sent(start(), **headers))
