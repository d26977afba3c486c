# SPDX-License-Identifier: Apache-2.0
"""Attacks on the channels of a running hospital, from everyone who can reach it: heard by nobody, and written down."""

import json
import shutil
from pathlib import Path

import pytest
from flap_sam.records.round_log import ROUND_LOG

from tests.deployment.federation import ADMIN, FINISHED, HOSPITALS, MEMBER, SERVER, Federation, copy_of
from tests.deployment.hostile.besieger import HOSPITAL, ORDERS, besiege

pytestmark = pytest.mark.slow

HOSTILE = Path(__file__).parent / "hostile/besieger.py"
BESIEGERS = {SERVER: "besieger.BesiegingController", "hospital-c": "besieger.BesiegingExecutor"}


@pytest.fixture(scope="module")
def besieged(federation: Federation, staged: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job of whose three hospitals one is attacked by the server, by another hospital and from a member's console."""
    job = copy_of(staged, tmp_path_factory.mktemp("besieged") / "job")
    shutil.copytree(job / "app", job / "app_c")
    _change(
        job / "app_c/config/config_fed_client.json",
        lambda c: c["executors"][0]["executor"].update(path=BESIEGERS["hospital-c"]),
    )
    _change(job / "app/config/config_fed_server.json", lambda c: c["workflows"][0].update(path=BESIEGERS[SERVER]))
    where = {"app": ["server", "hospital-a", "hospital-b"], "app_c": ["hospital-c"]}
    _change(job / "meta.json", lambda meta: meta.update(deploy_map=where))
    for kit, name in BESIEGERS.items():
        local = federation.kits / kit / "local"
        (local / "custom").mkdir(exist_ok=True)
        shutil.copy(HOSTILE, local / "custom")
        _change(local / "resources.json", lambda c, name=name: c["class_allow_list"].append(name))
    submitted = federation.submit(job)
    federation.wait_for_round(HOSPITAL, submitted, 0)
    session = federation.session(MEMBER)
    try:
        besiege(session.api.cell, submitted)
    finally:
        session.close()
    assert federation.finish(submitted) == FINISHED
    return submitted


def _change(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refused(federation: Federation) -> list[dict]:
    return [line for line in federation.audit(HOSPITAL) if line.get("door") == "refused"]


def test_a_hospital_under_attack_takes_part_in_every_round(federation, besieged):
    text = (federation.download(besieged) / ROUND_LOG).read_text()
    assert [list(json.loads(line)["sites"]) for line in text.splitlines()] == [list(HOSPITALS)] * 2
    assert (federation.kits / HOSPITAL / "local/resources.json").is_file()
    assert set(HOSPITALS) <= federation.connected()


@pytest.mark.usefixtures("besieged")
def test_flare_has_heard_of_none_of_it(federation):
    """FLARE's own audit log has every order that reaches its admin agent."""
    heard = (federation.kits / HOSPITAL / "audit.log").read_text()
    assert "train.start_job" in heard
    assert not [order for order in ORDERS if order in heard]


@pytest.mark.parametrize("channel", ["admin", "client_command", "_net_manager", "aux_communication", "cellnet.channel"])
@pytest.mark.parametrize("process", ["parent", "job"])
def test_every_attack_is_written_down(federation, besieged, process, channel):
    cell = HOSPITAL if process == "parent" else f"{HOSPITAL}.{besieged}"
    lines = [line for line in refused(federation) if (line["cell"], line["channel"]) == (cell, channel)]
    origins = {line["origin"] for line in lines}
    assert {"server", f"server.{besieged}", f"hospital-c.{besieged}"} <= origins
    assert len(origins) == 4, "the fourth is the member's console, under a name of one session"


@pytest.mark.usefixtures("besieged")
def test_orders_in_the_servers_own_name_are_told_apart(federation):
    told = [line["refused"] for line in refused(federation) if line["origin"] == "server"]
    assert all(any(order in sentence for sentence in told) for order in ORDERS)


@pytest.mark.usefixtures("besieged")
def test_streams_are_refused_by_what_they_carry(federation):
    streams = [line for line in refused(federation) if line.get("inner_topic") == "fed.event"]
    assert len({line["origin"] for line in streams}) == 4


@pytest.mark.usefixtures("besieged")
def test_honest_messages_were_not_refused(federation):
    """The hospital that nobody attacked has refused nothing, and the three that run answer the admin."""
    assert not [line for line in federation.audit("hospital-b") if line.get("door") == "refused"]
    session = federation.session(ADMIN)
    try:
        status = session.check_status("client")["client_status"]
    finally:
        session.close()
    assert {found["client_name"]: found["status"] for found in status} == dict.fromkeys(HOSPITALS, "no_jobs")


@pytest.mark.usefixtures("besieged")
def test_the_audit_log_is_whole(federation):
    assert federation.audit_log(HOSPITAL).verify() is None
