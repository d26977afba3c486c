"""A hospital's check of its kit: a good one passes whole, and every fault is found by name."""

import hashlib
import json
import socket
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from flap_sam.deployment.check import check
from flap_sam.deployment.kit import lay
from flap_sam.errors import FlapSamError
from flap_sam.experiment import Experiment
from flap_sam.federation.door.keeper import Keeper
from flap_sam.federation.door.refusals import Refusals

DOOR = {"id": "door", "path": "flap_sam.federation.door.component.Door", "args": {"relays": []}}
POLICY = Path(__file__).parents[2] / "provisioning/policy"


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
        lay(tmp_path / "kits", POLICY, [Experiment()], None)
        checkpoint = tmp_path / "sam.pth"
        torch.save({"a": torch.zeros(2)}, checkpoint)
        pinned = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        change(
            folder, "flap_site.json", data=str(store), name="A", checkpoint=str(checkpoint), checkpoint_sha256=pinned
        )
        change(folder, "flap_site.json", device="cpu")
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
        ("privacy.json", {"components": []}, "gate", "does not list"),
        ("privacy.json", {"scopes": []}, "gate", "has no scope"),
        ("privacy.json", {"default_scope": "flap_sam"}, "gate", "has a default scope"),
        ("resources.json", {"class_allow_list": ["nvflare."]}, "classes", "jobs may build"),
        ("resources.json", {"class_list_enforcement_mode": "report"}, "classes", "enforced"),
        ("resources.json", {"allow_log_streaming": True}, "classes", "log files may leave"),
        ("resources.json", {"components": []}, "door", "lists 0 times flap_sam.federation.door"),
        ("resources.json", {"components": [DOOR, DOOR]}, "door", "lists 2 times flap_sam.federation.door"),
        ("resources.json", {"components": [DOOR | {"args": {"open": 1}}]}, "door", "unexpected keyword argument"),
        ("resources.json", {"components": [DOOR | {"args": {"relays": "r"}}]}, "door", "expected a list of names"),
        ("flap_gate.json", {"audit": "/etc/hostname/flap_audit.jsonl"}, "door", "cannot be written"),
        ("authorization.json", {"permissions": {"lead": {"byoc": "any"}}}, "rights", "lead: byoc"),
        ("authorization.json", {"permissions": {"lead": "any"}}, "rights", "lead: shell_commands"),
        ("flap_gate.json", {"experiments": []}, "agreement", "nothing may leave"),
        ("flap_gate.json", {"metrics": ["age"]}, "agreement", "metrics are ['age']"),
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


def test_a_door_behind_a_relay_is_knocked_at(kit):
    change(kit, "resources.json", components=[DOOR | {"args": {"relays": ["relay-a"]}}])
    assert faults(kit) == {}


def test_a_knock_finds_every_door_that_does_not_hold(kit, monkeypatch):
    monkeypatch.setattr(Keeper, "admits", Mock(return_value=True))
    assert "stands open: sys.shell" in faults(kit)["door"]
    monkeypatch.setattr(Keeper, "admits", Mock(return_value=False))
    assert "lets nothing pass" in faults(kit)["door"]
    monkeypatch.undo()
    monkeypatch.setattr(Refusals, "note", Mock(return_value=False))
    assert "does not say what it refuses" in faults(kit)["door"]


@pytest.mark.parametrize(("file", "what"), [("privacy.json", "gate"), ("flap_gate.json", "agreement")])
def test_a_missing_file_is_found(kit, file, what):
    (kit / "local" / file).unlink()
    assert list(faults(kit)) == [what]


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
