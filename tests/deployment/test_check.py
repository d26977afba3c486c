"""A hospital's check of its kit: a good one passes whole, and every fault is found by name."""

import hashlib
import json
import socket
from pathlib import Path

import pytest
import torch
from flap_sam.deployment.check import check
from flap_sam.deployment.kit import POLICIES, lay
from flap_sam.errors import FlapSamError
from flap_sam.experiment import Experiment
from flap_sam.federation.gate.audit import AuditLog
from flap_sam.federation.gate.ledger import FILE_NAME as LEDGER
from flap_sam.federation.gate.ledger import Ledger, Turn, held
from flap_sam.federation.gate.places import Places

DOOR = {"id": "door", "path": "flap_sam.federation.door.component.Door", "args": {"relays": []}}


@pytest.fixture
def kit(tmp_path: Path, store: Path):
    """A kit that lacks nothing, and a port that answers as its server."""
    folder = tmp_path / "kits/north"
    (folder / "startup").mkdir(parents=True)
    (folder / "local").mkdir()
    with socket.create_server(("localhost", 0)) as server:
        client = {"fqsn": "north", "ssl_private_key": "client.key"}
        servers = [{"service": {"target": f"localhost:{server.getsockname()[1]}"}}]
        (folder / "startup/fed_client.json").write_text(json.dumps({"client": client, "servers": servers}))
        key = folder / "startup/client.key"
        key.write_text("secret")
        key.chmod(0o600)
        lay(tmp_path / "kits", POLICIES, [Experiment()], None)
        checkpoint = tmp_path / "sam.pth"
        torch.save({"a": torch.zeros(2)}, checkpoint)
        pinned = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        change(
            folder, "flap_site.json", data=str(store), name="A", checkpoint=str(checkpoint), checkpoint_sha256=pinned
        )
        change(folder, "flap_site.json", device="cpu")
        for path in [folder, *folder.rglob("*")]:
            path.chmod(path.stat().st_mode & ~0o022)
        yield folder


def change(kit: Path, file: str, **settings) -> None:
    path = kit / "local" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def faults(kit: Path) -> dict[str, str]:
    return {finding.what: finding.found for finding in check(kit) if not finding.good}


def test_a_whole_kit_passes(kit):
    assert faults(kit) == {}


@pytest.mark.parametrize(
    ("file", "settings", "what", "sentence"),
    [
        ("privacy.json", {"components": []}, "gate", "not the shipped one"),
        ("privacy.json", {"scopes": []}, "gate", "not the shipped one"),
        ("privacy.json", {"default_scope": "flap_sam"}, "gate", "not the shipped one"),
        ("resources.json", {"class_allow_list": ["nvflare."]}, "classes", "not the shipped one"),
        ("resources.json", {"class_list_enforcement_mode": "report"}, "classes", "not the shipped one"),
        ("resources.json", {"allow_log_streaming": True}, "classes", "not the shipped one"),
        ("authorization.json", {"permissions": {"lead": {"byoc": "any"}}}, "rights", "not the shipped one"),
        ("authorization.json", {"permissions": {"lead": "any"}}, "rights", "not the shipped one"),
        ("flap_gate.json", {"experiments": []}, "agreement", "nothing may leave"),
        ("flap_gate.json", {"metrics": ["age"]}, "agreement", "metrics.0 is 'age'"),
        ("flap_gate.json", {"largest_update": 1e9}, "agreement", "bounds nothing"),
        ("flap_gate.json", {"largest_payload": 1e9}, "agreement", "bounds nothing"),
        ("flap_site.json", {"data": None}, "data", "none is configured"),
        ("flap_site.json", {"data": "/nowhere"}, "data", "/nowhere"),
        ("flap_site.json", {"checkpoint": None}, "checkpoint", "not for patients"),
        ("flap_site.json", {"checkpoint": "random"}, "checkpoint", "random weights"),
        ("flap_site.json", {"checkpoint_sha256": None}, "checkpoint", "does not pin it"),
        ("flap_site.json", {"checkpoint_sha256": "0" * 64}, "checkpoint", "sha256"),
        ("flap_site.json", {"device": "cuda:7"}, "device", "cannot be used"),
    ],
)
def test_each_fault_is_found(kit, file, settings, what, sentence):
    change(kit, file, **settings)
    found = faults(kit)
    assert list(found) == [what]
    assert sentence in found[what]


@pytest.mark.parametrize(
    ("components", "sentence"),
    [
        ([], "lists flap_sam.federation.door.component.Door 0 times"),
        ([DOOR, DOOR], "lists flap_sam.federation.door.component.Door 2 times"),
        ([DOOR | {"args": {"open": 1}}], "unexpected keyword argument"),
        ([DOOR | {"args": {"relays": "r"}}], "expected a list of names"),
    ],
)
def test_a_door_that_is_not_shut_is_found(kit, components, sentence):
    change(kit, "resources.json", components=components)
    assert sentence in faults(kit)["door"]


@pytest.mark.parametrize("file", [path.name for path in (POLICIES / "site").glob("*.json")])
def test_a_missing_file_is_found(kit, file):
    (kit / "local" / file).unlink()
    assert faults(kit)


def test_only_the_services_own_user_checks(kit, monkeypatch):
    """Another one would look for the ledger in another home, and leave a log that the service cannot write."""
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    assert list(faults(kit)) == ["user"]
    assert not (kit / "flap_audit.jsonl").exists()


def test_a_hospital_may_say_how_its_machine_is_connected(kit):
    change(kit, "resources.json", client={"retry_timeout": 5, "communication_timeout": 20.0})
    assert faults(kit) == {}


def test_code_that_a_job_could_build_is_found(kit):
    (kit / "local/custom/deep").mkdir(parents=True)
    assert faults(kit) == {}
    (kit / "local/custom/deep/anything.py").write_text("")
    assert "anything.py" in faults(kit)["foreign code"]


@pytest.mark.parametrize("path", ["local", "startup", "local/flap_gate.json", "startup/fed_client.json"])
def test_a_policy_that_the_service_could_change_is_found(kit, path):
    (kit / path).chmod((kit / path).stat().st_mode | 0o022)
    assert path in faults(kit)["policy"]


def places(kit) -> Places:
    return Places(kit, kit / "local", "north")


@pytest.mark.parametrize(
    ("spoil", "what", "sentence"),
    [
        (lambda p: p.audit_log.path.write_text(""), "audit log", "head knows 1 lines"),
        (lambda p: p.audit_log.path.unlink(), "audit log", "No such file"),
        (lambda p: p.audit_log.head_path.unlink(), "audit log", "head"),
        (lambda p: p.audit_log.path.write_bytes(b"{}\n"), "audit log", "not bound"),
        (lambda p: p.audit_log.path.chmod(0o644), "private files", "chmod 600"),
        (lambda p: (p.folder / LEDGER).chmod(0o640), "private files", "chmod 600"),
        (lambda p: (p.folder / LEDGER).write_text("{"), "ledger", "damaged"),
        (lambda p: (p.folder / LEDGER).unlink() or (p.folder / LEDGER).mkdir(), "ledger", "damaged"),
    ],
)
def test_a_log_or_a_ledger_that_is_not_as_it_was_left_is_found(kit, spoil, what, sentence):
    assert faults(kit) == {}
    spoil(places(kit))
    assert sentence in faults(kit)[what]


def test_a_ledger_that_knows_less_than_the_log_is_found(kit):
    entry = {"direction": "out", "run": "run-1", "sha256": "0" * 64}
    places(kit).audit_log.write(entry)
    assert "missing" in faults(kit)["ledger"]
    with held(places(kit).folder, AuditLog(kit / "none", kit)) as file:
        file.write(Ledger().answered(Turn("job", "run-1", "e" * 64, "train", 0), bare=True))
    assert faults(kit) == {}
    places(kit).audit_log.write(entry)
    assert "fewer answers of run run-1" in faults(kit)["ledger"]


def test_a_key_that_others_can_read_is_found(kit):
    (kit / "startup/client.key").chmod(0o644)
    assert "chmod 600" in faults(kit)["private key"]


def test_a_server_that_does_not_answer_is_found(kit):
    path = kit / "startup/fed_client.json"
    client = json.loads(path.read_text())
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        client["servers"][0]["service"]["target"] = f"localhost:{probe.getsockname()[1]}"
    path.write_text(json.dumps(client))
    assert "firewall table" in faults(kit)["server"]


def test_another_folder_is_no_kit(tmp_path):
    with pytest.raises(FlapSamError, match="is no hospital's kit"):
        check(tmp_path)
