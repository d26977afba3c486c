# SPDX-License-Identifier: Apache-2.0
"""Policies laid into kits: what is there afterwards, and what a site's operator wrote itself stays."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.federation.kits.policy import HOSPITAL, LOCK, POLICIES, SERVER, STARTUP_FILES, lay, locked, role_of, write
from flap_sam.federation.kits.resources import FILE_NAME as RESOURCES
from flap_sam.gate.agreement import FILE_NAME, Agreement


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit as bare as it is provisioned."""
    (tmp_path / "north/local").mkdir(parents=True)
    return tmp_path / "north"


def files(kit: Path) -> set[str]:
    return {str(path.relative_to(kit)) for path in kit.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("role", "local"),
    [
        (HOSPITAL, ["authorization.json", "privacy.json", "resources.json", "flap_gate.json", "flap_site.json"]),
        (SERVER, ["authorization.json", "resources.json"]),
    ],
)
def test_a_kit_gets_the_policy_of_its_role(kit, role, local):
    lay(kit, role)
    assert files(kit) == {"comm_config.json", *(f"local/{name}" for name in local)}


@pytest.mark.parametrize(
    ("file", "role"), [("fed_server.json", SERVER), ("fed_client.json", HOSPITAL), ("fed_admin.json", None)]
)
def test_a_role_is_known_by_what_the_kit_starts_with(kit, file, role):
    (kit / "startup").mkdir()
    (kit / "startup" / file).write_text("{}")
    assert role_of(kit) == role
    assert role_of(kit / "local") is None


def test_an_agreement_is_laid_empty_so_that_nothing_passes(kit):
    lay(kit, HOSPITAL)
    with pytest.raises(
        FlapSamError, match=r"lists no experiment, so nothing passes; .*`flap-sam kit .*north --job JOB`"
    ):
        Agreement.read(kit / "local")


def test_what_a_hospital_has_filled_in_stays(kit):
    lay(kit, HOSPITAL)
    own = {name: f'{{"{name}": 1}}' for name in ("flap_site.json", FILE_NAME)}
    for name, text in own.items():
        (kit / "local" / name).write_text(text)
    resources = json.loads((kit / "local" / RESOURCES).read_text())
    (kit / "local" / RESOURCES).write_text(
        json.dumps(resources | {"client": {"retry_timeout": 7}, "class_allow_list": []})
    )
    (kit / "local/authorization.json").write_text("{}")
    lay(kit, HOSPITAL)
    assert {name: (kit / "local" / name).read_text() for name in own} == own
    assert json.loads((kit / "local" / RESOURCES).read_text()) == resources | {"client": {"retry_timeout": 7}}
    assert (kit / "local/authorization.json").read_bytes() == (POLICIES / HOSPITAL / "authorization.json").read_bytes()


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_resources_that_cannot_be_read_are_named(kit, text):
    (kit / "local" / RESOURCES).write_text(text)
    with pytest.raises(FlapSamError, match=r"resources\.json .*take it out"):
        lay(kit, HOSPITAL)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_file_keeps_its_rights_when_it_is_written_anew(kit, mode):
    """In an installed kit root writes, and the service's group reads."""
    path = kit / "local/file"
    path.write_text("before")
    path.chmod(mode)
    before = path.stat()
    write(path, b"after")
    assert path.read_text() == "after"
    assert (path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_keeps_its_owner_when_root_writes_it_anew(kit):
    path = kit / "local/file"
    path.write_text("before")
    os.chown(path, 4711, 4712)
    write(path, b"after")
    assert (path.stat().st_uid, path.stat().st_gid) == (4711, 4712)


def test_every_wheel_is_pinned_by_hash(kit, tmp_path):
    house = tmp_path / "wheels"
    house.mkdir()
    wheels = {"flap_sam-0.1.0-py3-none-any.whl": b"ours", "numpy-2.1.0-cp311-cp311-manylinux_2_17_x86_64.whl": b"np"}
    for name, content in wheels.items():
        (house / name).write_bytes(content)
    lay(kit, HOSPITAL, lock=locked(house))
    expected = [
        f"flap_sam==0.1.0 --hash=sha256:{hashlib.sha256(b'ours').hexdigest()}",
        f"numpy==2.1.0 --hash=sha256:{hashlib.sha256(b'np').hexdigest()}",
    ]
    assert (kit / LOCK).read_text().splitlines() == expected
    lay(kit, HOSPITAL)
    assert (kit / LOCK).read_text().splitlines() == expected


def test_a_wheelhouse_without_the_package_is_refused(tmp_path):
    with pytest.raises(FlapSamError, match="holds no wheel of flap_sam"):
        locked(tmp_path)


def test_a_folder_without_a_policy_is_refused(kit, tmp_path):
    with pytest.raises(FlapSamError, match="No policy lies in"):
        lay(kit, HOSPITAL, tmp_path)


def test_the_roles_are_those_of_the_policies():
    assert {path.name for path in POLICIES.iterdir()} == STARTUP_FILES.keys()
