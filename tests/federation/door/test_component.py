# SPDX-License-Identifier: Apache-2.0
"""The component of `resources.json`: it stands before the cells of a process, or the process does not start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.federation.door.component import Door, checked
from flap_sam.federation.kits.policy import POLICIES
from nvflare.fuel.f3.cellnet.core_cell import CoreCell

RESOURCES = POLICIES / "site/resources.json"
DOOR = "flap_sam.federation.door.component.Door"


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kit to run in; what the door does to FLARE ends with the test."""
    for name in ("startup", "local"):
        (tmp_path / name).mkdir()
    (tmp_path / "startup/fed_client.json").write_text(json.dumps({"client": {"fqsn": "hospital-a"}}))
    monkeypatch.setattr(CoreCell, "process_message", CoreCell.process_message)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_stands_before_every_cell(kit):
    before = CoreCell.process_message
    Door()
    assert CoreCell.process_message is not before
    assert (kit / "flap_audit.jsonl").exists()


def test_outside_a_kit_it_cannot_be_shut(kit):
    (kit / "startup/fed_client.json").unlink()
    with pytest.raises(FlapSamError, match="finds no kit"):
        Door()


def test_without_an_audit_log_the_site_does_not_start(kit):
    (kit / "flap_audit.jsonl").mkdir()
    with pytest.raises(FlapSamError, match="nothing passes"):
        Door()


@pytest.mark.parametrize("relays", ["relay-a", [1], [""], [None]])
def test_relays_are_names(relays):
    with pytest.raises(FlapSamError, match="expected a list of names"):
        checked(relays)


def test_the_policy_lists_it_once_and_tells_the_server_nothing_of_it():
    resources = json.loads(RESOURCES.read_text())
    assert [component["path"] for component in resources["components"]].count(DOOR) == 1
    assert DOOR not in json.dumps({key: value for key, value in resources.items() if key != "components"})


@pytest.mark.parametrize("job_id", [None, "0cfe6be3-8c8f-42f4-8766-ffc9dfbfd0ac"])
def test_flare_builds_it_in_both_processes_before_there_is_a_cell(kit, job_id):
    """What FLARE's own starter of a process does with the kit's files, in a process of its own."""
    (kit / "local/resources.json").write_text(RESOURCES.read_text())
    server = {"name": "flap_sam", "service": {"scheme": "http", "target": "localhost:1"}, "identity": "localhost"}
    (kit / "startup/fed_client.json").write_text(json.dumps({"client": {"fqsn": "hospital-a"}, "servers": [server]}))
    started = f"""
from argparse import Namespace
from nvflare.apis.workspace import Workspace
from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.private.fed.app.fl_conf import FLClientStarterConfiger
args = Namespace(workspace=".", job_id={job_id!r}, sp_scheme="http", sp_target="x:1", parent_url="", parent_conn_sec="")
conf = FLClientStarterConfiger(Workspace(".", "hospital-a"), args, ["uid=hospital-a"])
conf.configure()
assert not CoreCell.ALL_CELLS
print(type(conf.components["flap_sam_door"]).__name__, hasattr(CoreCell.process_message, "__wrapped__"))
"""
    done = subprocess.run([sys.executable, "-c", started], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.split() == ["Door", "True"], done.stdout + done.stderr
    (kit / "flap_audit.jsonl").unlink()
    failed = subprocess.run([sys.executable, "-c", started], capture_output=True, text=True, timeout=100, check=False)
    assert failed.returncode != 0
    assert "nothing passes" in failed.stdout + failed.stderr
