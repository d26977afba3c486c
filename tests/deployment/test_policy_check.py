# SPDX-License-Identifier: Apache-2.0
"""Whether a policy is the shipped one, and who may change or read what lies in a kit; one look at a time."""

import json
import os
import shutil
from pathlib import Path

import pytest
from flap_sam.deployment.policy_check import (
    AUTHORIZATION,
    PRIVACY,
    RESOURCES,
    as_shipped,
    is_service,
    not_writable,
    private,
    private_key,
)
from flap_sam.errors import FlapSamError
from flap_sam.federation.kits.policy import HOSPITAL, POLICIES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PLAIN = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2)
OBJECTS = st.dictionaries(st.sampled_from(["args", "relays", "x"]), PLAIN, max_size=2)
JSON = PLAIN | st.lists(PLAIN, max_size=2) | OBJECTS


@pytest.fixture
def kit(tmp_path) -> Path:
    shutil.copytree(POLICIES / HOSPITAL, tmp_path / "north" / "local")
    (tmp_path / "north" / "startup").mkdir()
    for path in [tmp_path / "north", *(tmp_path / "north").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path / "north"


@pytest.fixture
def as_root(monkeypatch):
    """Rights are looked at as root sees them, whoever runs the tests."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def changed(kit: Path, name: str, change) -> tuple[bool, str]:
    path = kit / "local" / name
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))
    return as_shipped(kit / "local", name)


@pytest.mark.parametrize("name", [AUTHORIZATION, PRIVACY, RESOURCES])
def test_what_is_shipped_is_as_shipped_however_it_is_written(kit, name):
    assert changed(kit, name, lambda _: None)[0], "spaces and the order of names say nothing"
    good, told = changed(kit, name, lambda said: said.update(more=1))
    assert not good
    assert told.startswith(f"{name} is not the shipped one")
    (kit / "local" / name).unlink()
    with pytest.raises(FlapSamError, match=rf"{name} is missing; `flap-sam kit` lays it"):
        as_shipped(kit / "local", name)


def with_args(**args):
    def change(said):
        manager = next(component for component in said["components"] if component["id"] == "resource_manager")
        manager["args"].update(args)

    return change


@pytest.mark.parametrize(
    ("change", "good"),
    [
        (lambda said: said.update(client={"retry_timeout": 30, "names": ["a", "b"]}), True),
        (lambda said: said.update(client={"retry_timeout": {"path": "os.system"}}), False),
        (lambda said: said.update(client={"names": [{"path": "os.system"}]}), False),
        (with_args(num_of_gpus=4), True),
        (with_args(num_of_gpus={"path": "os.system"}), False),
        (with_args(anything=1), False),
        (lambda said: said["components"].append({"id": "x", "path": "os.system"}), False),
    ],
)
def test_a_hospital_may_say_how_its_machine_is_connected_and_what_it_has_and_nothing_else(kit, change, good):
    assert changed(kit, RESOURCES, change)[0] == good


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(["", "client", "components", "component", "args"]), odd=JSON)
def test_whatever_a_file_holds_it_is_another_than_the_shipped_one_and_no_fault_of_ours(kit, place, odd):
    said = json.loads((POLICIES / HOSPITAL / RESOURCES).read_text())
    before = json.dumps(said, sort_keys=True)
    if place == "component":
        said["components"].append(odd)
    elif place == "args":
        said["components"].append({"id": "x", "args": odd})
    elif place:
        said[place] = odd
    else:
        said = odd
    (kit / "local" / RESOURCES).write_text(json.dumps(said))
    same = json.dumps(said, sort_keys=True) == before
    own = place == "client" and isinstance(odd, dict) and not any(isinstance(v, dict) for v in odd.values())
    assert as_shipped(kit / "local", RESOURCES)[0] == (same or own)


@pytest.mark.parametrize("path", ["local", "startup", f"local/{PRIVACY}"])
@pytest.mark.parametrize(("bit", "good"), [(0o020, False), (0o002, False), (0o000, True)])
@pytest.mark.usefixtures("as_root")
def test_what_others_may_write_is_named(kit, path, bit, good):
    (kit / path).chmod((kit / path).stat().st_mode | bit)
    found, told = not_writable(kit)
    assert found == good
    assert good or told.startswith(f"{path} can be changed by the service")


@pytest.mark.usefixtures("as_root")
def test_who_may_write_in_the_kit_could_replace_its_folders(kit):
    kit.chmod(0o775)
    good, told = not_writable(kit)
    assert not good
    assert "could replace north/local" in told


@pytest.mark.parametrize(
    ("mode", "good"),
    [(0o600, True), (0o400, True), (0o640, True), (0o660, False), (0o604, False), (0o606, False), (0o601, False)],
)
def test_a_key_is_read_by_its_owner_and_the_services_group(tmp_path, mode, good):
    key = tmp_path / "client.key"
    key.touch()
    os.chown(key, -1, os.getegid())
    key.chmod(mode)
    assert private_key(key)[0] == good


def test_a_key_that_another_group_reads_is_found(tmp_path, monkeypatch):
    key = tmp_path / "client.key"
    key.touch()
    key.chmod(0o640)
    monkeypatch.setattr(os, "getegid", lambda: key.stat().st_gid + 1)
    assert not private_key(key)[0]
    key.chmod(0o600)
    assert private_key(key)[0]


@pytest.mark.parametrize(
    ("kind", "mode", "good"),
    [
        ("file", 0o600, True),
        ("file", 0o640, False),
        ("file", 0o604, False),
        ("folder", 0o755, True),
        ("folder", 0o775, False),
        ("folder", 0o757, False),
    ],
)
def test_a_file_is_private_where_others_cannot_read_it_and_a_folder_where_they_cannot_write(tmp_path, kind, mode, good):
    path = tmp_path / "x"
    path.mkdir() if kind == "folder" else path.touch()
    path.chmod(mode)
    found, told = private(path, tmp_path / "gone")
    assert found == good
    assert told.startswith("1 files" if good else f"others can read {path}")


@pytest.mark.parametrize("mode", [0o755, 0o775])
def test_the_service_is_the_kits_owner_or_one_of_its_group_where_that_may_write(kit, monkeypatch, mode):
    kit.chmod(mode)
    found = kit.stat()
    for user, group in ((found.st_uid, found.st_gid), (found.st_uid + 1, found.st_gid), (4711, 4712)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        monkeypatch.setattr(os, "getegid", lambda group=group: group)
        monkeypatch.setattr(os, "getgroups", list)
        by_group = user != 0 and group == found.st_gid
        assert is_service(kit) == (by_group if mode == 0o775 else user == found.st_uid)
