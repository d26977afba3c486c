# SPDX-License-Identifier: Apache-2.0
"""A hospital's check of its kit: a good one passes whole, and every fault is found by name."""

import hashlib
import json
import os
import re
import socket
import stat
from pathlib import Path

import pytest
import torch
from flap_sam.commands.tables.deployment import check_text
from flap_sam.config.experiment import Experiment
from flap_sam.deployment.check import OVERRULING, agreement_of, check
from flap_sam.deployment.kit import fill
from flap_sam.deployment.policy_check import is_service, not_writable, private_key
from flap_sam.errors import FlapSamError
from flap_sam.federation.kits.policy import POLICIES
from flap_sam.gate.audit import AuditLog
from flap_sam.gate.ledger import FILE_NAME as LEDGER
from flap_sam.gate.ledger import Ledger, Turn, held
from flap_sam.gate.places import Places

from tests.federation.gpu_machine import machine_with

DOOR = {"id": "door", "path": "flap_sam.federation.door.component.Door", "args": {"relays": []}}


@pytest.fixture
def kit(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch):
    """A kit that lacks nothing, and a port that answers as its server."""
    for name in os.environ:
        if name.startswith(OVERRULING):
            monkeypatch.delenv(name)
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
        fill(folder, [Experiment()])
        checkpoint = tmp_path / "sam.pth"
        torch.save({"a": torch.zeros(2)}, checkpoint)
        pinned = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        change(
            folder, "flap_site.json", data=str(store), name="A", checkpoint=str(checkpoint), checkpoint_sha256=pinned
        )
        change(folder, "flap_site.json", device="cpu", state=str(tmp_path / "state"))
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
        (
            "flap_gate.json",
            {"experiments": []},
            "agreement",
            "lists no experiment, so nothing passes; read a job, then",
        ),
        ("flap_gate.json", {"metrics": ["age"]}, "agreement", "metrics.0 is 'age'"),
        ("flap_gate.json", {"largest_update": 1e9}, "agreement", "bounds nothing"),
        ("flap_gate.json", {"largest_payload": 1e9}, "agreement", "bounds nothing"),
        ("flap_site.json", {"data": None}, "data", "none is configured"),
        ("flap_site.json", {"data": "/nowhere"}, "data", "/nowhere"),
        ("flap_site.json", {"checkpoint": None}, "checkpoint", "not for patients"),
        ("flap_site.json", {"checkpoint": "random"}, "checkpoint", "random weights"),
        ("flap_site.json", {"checkpoint": "/nowhere.pth"}, "checkpoint", "/nowhere.pth is no file; correct"),
        ("flap_site.json", {"checkpoint_sha256": None}, "checkpoint", "does not pin it"),
        ("flap_site.json", {"checkpoint_sha256": "0" * 64}, "checkpoint", f"is {'0' * 64}; use"),
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
    next(kit.rglob(file)).unlink()
    assert faults(kit)


def test_only_the_services_own_user_checks(kit, monkeypatch):
    """Another one would look for the ledger in another home, and leave a log that the service cannot write."""
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    assert list(faults(kit)) == ["user"]
    assert not (kit / "flap_audit.jsonl").exists()


def test_a_hospital_may_say_how_its_machine_is_connected(kit):
    change(kit, "resources.json", client={"retry_timeout": 5, "communication_timeout": 20.0})
    assert faults(kit) == {}


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch):
    """Has torch take a site's device as if the GPU were there."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.empty", lambda *_, **__: None)


def with_gpus(kit: Path, gpus: int, **settings) -> dict[str, str]:
    fill(kit, gpus=gpus)
    change(kit, "flap_site.json", **settings)
    with machine_with(2):
        return faults(kit)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("settings", [{"device": None}, {"device": "cuda"}, {"device": "cuda:0"}])
@pytest.mark.parametrize("gpus", [1, 2])
def test_gpus_that_are_there_pass(kit, gpus, settings):
    assert with_gpus(kit, gpus, **settings) == {}


@pytest.mark.usefixtures("cuda")
def test_processes_without_a_gpu_of_their_own_are_found(kit):
    assert "at most 1 GPUs, and processes is 2" in with_gpus(kit, 1, device=None, processes=2)["device"]


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(
    ("gpus", "device", "sentence"),
    [
        (3, None, "has 3 GPUs for jobs, and `nvidia-smi` lists 2 here"),
        (2, "cpu", "device is cpu; set it to null"),
        (2, "cuda:1", "device is cuda:1; set it to null"),
        (0, None, "jobs would share cuda; give it to one at a time"),
        (0, "cuda:1", "jobs would share cuda:1; give it to one at a time"),
    ],
)
def test_a_gpu_that_is_missing_or_that_jobs_would_share_is_found(kit, gpus, device, sentence):
    assert sentence in with_gpus(kit, gpus, device=device)["device"]


def test_gpus_on_a_machine_without_any_are_found(kit):
    fill(kit, gpus=1)
    assert "has 1 GPUs for jobs, and `nvidia-smi` lists 0 here" in faults(kit)["device"]


@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"])
def test_a_variable_that_would_take_another_gpu_is_found(kit, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert name in faults(kit)["environment"]


def test_what_the_agreement_permits_is_told(kit):
    told = check_text(check(kit), agreement_of(kit))
    for name, value in Experiment():
        assert re.search(rf"│ {name} +│ {re.escape(str(value))} ", told)
    assert Experiment().digest()[:12] in told
    assert re.search(r"│ largest_update +│ 50", told)
    change(kit, "flap_gate.json", experiments=[])
    assert "permits" not in check_text(check(kit), agreement_of(kit))


def test_code_that_a_job_could_build_is_found(kit):
    (kit / "local/custom/deep").mkdir(parents=True)
    assert faults(kit) == {}
    (kit / "local/custom/deep/anything.py").write_text("")
    assert "anything.py" in faults(kit)["foreign code"]


@pytest.mark.parametrize("path", ["local", "startup", "local/flap_gate.json", "startup/fed_client.json"])
def test_a_policy_that_the_service_could_change_is_found(kit, path):
    (kit / path).chmod((kit / path).stat().st_mode | 0o022)
    assert path in faults(kit)["policy"]


def test_a_kit_that_flare_provisioned_and_ran_is_whole(kit):
    """What `nvflare provision` lays beside the policy, and what a run leaves, is known."""
    for name in ("authorization.json.default", "resources.json.default", "privacy.json.sample"):
        (kit / "local" / name).write_text("{}")
    for name in ("client.crt", "rootCA.pem", "start.sh", "sub_start.sh", "stop_fl.sh"):
        (kit / "startup" / name).write_text("")
    logs = {"handlers": {"file": {"class": "logging.handlers.RotatingFileHandler", "filename": "log.txt"}}}
    (kit / "local/log_config.json.default").write_text(json.dumps(logs))
    run = kit / "0cfe6be3-8c8f-42f4-8766-ffc9dfbfd0ac/app_north/config"
    run.mkdir(parents=True)
    (run / "config_fed_client.json").write_text("{}")
    for name in ("log.txt", "pid.fl", "audit.log", "requirements.lock"):
        (kit / name).write_text("")
    (kit / "transfer").mkdir()
    for path in kit.rglob("*"):
        path.chmod(path.stat().st_mode & ~0o022)
    assert faults(kit) == {}


@pytest.mark.parametrize(
    "path",
    [
        "local/evil__resources.json",
        "local/evil__p_resources.json",
        "startup/evil__j_resources.json",
        "local/job_resources.json",
        "local/study_registry.json",
        "local/resources.conf",
        "local/comm_config.json",
        "local/deep/anything",
        "startup/resources.json",
        "job/app/config/comm_config.json",
        "job/app/config/comm_config.yml.default",
        "job/app/config/resources.json",
        "job/app/config/fed_client.conf",
        "fed_client.json",
    ],
)
def test_a_file_that_flare_would_load_is_found(kit, path):
    (kit / path).parent.mkdir(parents=True, exist_ok=True)
    (kit / path).write_text("{}")
    (kit / path).chmod(0o600)
    assert path in faults(kit)["kit"]


@pytest.mark.parametrize("path", ["nvflare.py", "local/custom/a.so", "job/app/custom/sitecustomize.py", "x/y.pyc"])
def test_code_anywhere_in_the_kit_is_found(kit, path):
    (kit / path).parent.mkdir(parents=True, exist_ok=True)
    (kit / path).write_text("")
    assert path in faults(kit)["foreign code"]


@pytest.mark.parametrize(
    ("path", "content", "sentence"),
    [
        ("comm_config.json", {"comm_driver_path": "/tmp"}, "not the shipped one"),
        ("comm_config.json", {"allow_adhoc_conns": True}, "not the shipped one"),
        ("local/log_config.json", {"handlers": {"x": {"()": "os.system", "command": "x"}}}, "build os.system"),
        ("local/log_config.json", {"handlers": {"x": {"class": "logging.handlers.HTTPHandler"}}}, "HTTPHandler"),
        ("local/log_config.json.default", {"formatters": {"x": {"class": ["a"]}}}, "build"),
        ("local/relay__resources.json", {"relay_config": {}, "components": []}, "more than relay_config"),
        ("local/log_config.json", [], "expected names and values"),
    ],
)
def test_a_file_that_says_too_much_is_found(kit, path, content, sentence):
    (kit / path).write_text(json.dumps(content))
    (kit / path).chmod(0o600)
    assert sentence in faults(kit)["kit"]


@pytest.mark.parametrize("key", ["components", "class_allow_list", "require_signed_jobs", "relay_config"])
def test_what_would_overrule_the_policy_is_found(kit, key):
    path = kit / "startup/fed_client.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: []}))
    assert key in faults(kit)["kit"]


@pytest.mark.parametrize("name", ["local", "startup", "local/privacy.json", "comm_config.json"])
def test_a_link_is_found(kit, tmp_path, name):
    (kit / name).rename(tmp_path / "elsewhere")
    (kit / name).symlink_to(tmp_path / "elsewhere")
    assert "is a link" in faults(kit)["kit"]


@pytest.mark.parametrize(
    "name", ["FLAP_SAM_CHECKPOINT", "FLAP_SAM_STATE", "NVFLARE_COMM_DRIVER_PATH", "NVFL_RESULT_ROOT", "PYTHONPATH"]
)
def test_a_variable_that_overrules_the_kit_is_found(kit, monkeypatch, name):
    monkeypatch.setenv(name, str(kit / "elsewhere"))
    assert name in faults(kit)["environment"]


def test_settings_that_flare_would_build_are_no_settings_of_a_machine(kit):
    built = {"path": "os.system", "args": {}}
    manager = json.loads((kit / "local/resources.json").read_text())["components"]
    manager[1]["args"]["num_of_gpus"] = built
    change(kit, "resources.json", components=manager)
    assert "not the shipped one" in faults(kit)["classes"]


def test_a_policy_that_says_a_thing_twice_is_found(kit):
    path = kit / "local/authorization.json"
    path.write_text(path.read_text().replace("{", '{ "permissions": {},', 1))
    assert "twice" in faults(kit)["rights"]


def test_a_startup_file_that_is_none_is_one_sentence(kit):
    for text in ("[", "[]", '{"client": {}}', '{"client": {"fqsn": 1}}', "{}"):
        (kit / "startup/fed_client.json").write_text(text)
        with pytest.raises(FlapSamError, match="is not as `nvflare provision` made it"):
            check(kit)


@pytest.mark.parametrize(
    ("mode", "owner", "good"),
    [(0o700, "service", False), (0o770, "root", False), (0o1770, "root", True), (0o1770, "service", False)],
)
def test_the_service_cannot_put_another_folder_in_the_place_of_local(kit, monkeypatch, mode, owner, good):
    """Only root's sticky kit keeps root's folders where they are."""
    numbers, real = {"root": 0, "service": 4711}, Path.stat

    def found(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        fields = list(real(path, follow_symlinks=follow_symlinks))
        if path == kit:
            fields[0], fields[4] = stat.S_IFDIR | mode, numbers[owner]
        return os.stat_result(fields)

    monkeypatch.setattr(Path, "stat", found)
    monkeypatch.setattr("os.geteuid", lambda: numbers["service"])
    monkeypatch.setattr("os.access", lambda path, _: path == kit)
    assert not_writable(kit)[0] == good


def test_a_kit_that_root_keeps_is_checked_by_one_of_its_group(kit, monkeypatch):
    kit.chmod(0o1770)
    assert is_service(kit) == (os.geteuid() != 0)
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    assert is_service(kit)
    monkeypatch.setattr("os.getegid", lambda: 4712)
    monkeypatch.setattr("os.getgroups", lambda: [4712])
    assert not is_service(kit)


def places(kit) -> Places:
    return Places(kit, kit / "local", "north")


@pytest.mark.parametrize(
    ("spoil", "what", "sentence"),
    [
        (lambda p: p.audit_log.path.write_text(""), "audit log", "head knows 1 lines"),
        (lambda p: p.audit_log.path.unlink(), "audit log", "the log is missing"),
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


@pytest.mark.parametrize(
    ("mode", "good"), [(0o600, True), (0o640, True), (0o644, False), (0o660, False), (0o604, False)]
)
def test_a_key_is_the_services_own_and_its_groups(kit, mode, good):
    (kit / "startup/client.key").chmod(mode)
    assert ("private key" not in faults(kit)) == good


def test_a_key_of_another_group_is_found(kit, monkeypatch):
    (kit / "startup/client.key").chmod(0o640)
    monkeypatch.setattr("os.getegid", lambda: 4711)
    assert not private_key(kit / "startup/client.key")[0]


def test_a_server_that_does_not_answer_is_found(kit):
    path = kit / "startup/fed_client.json"
    client = json.loads(path.read_text())
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        client["servers"][0]["service"]["target"] = f"localhost:{probe.getsockname()[1]}"
    path.write_text(json.dumps(client))
    assert "firewall" in faults(kit)["server"]


def test_another_folder_is_no_kit(tmp_path):
    with pytest.raises(FlapSamError, match="is no hospital's kit"):
        check(tmp_path)
