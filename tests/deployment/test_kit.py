# SPDX-License-Identifier: Apache-2.0
"""Policies laid into kits: what is there afterwards, and what a hospital wrote itself stays."""

import hashlib
import json
from pathlib import Path

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.deployment.kit import LOCK, POLICIES, STARTUP_FILES, lay, locked
from flap_sam.errors import FlapSamError
from flap_sam.gate.agreement import Agreement


@pytest.fixture
def kits(tmp_path: Path) -> Path:
    """A server's, two hospitals' and a person's kit, as bare as they are provisioned."""
    for name, role in (("server", "server"), ("north", "site"), ("south", "site"), ("lead@x.org", None)):
        (tmp_path / "kits" / name / "local").mkdir(parents=True)
        (tmp_path / "kits" / name / "startup").mkdir()
        (tmp_path / "kits" / name / "startup" / STARTUP_FILES.get(role, "fed_admin.json")).write_text("{}")
    return tmp_path / "kits"


def local(kits: Path, name: str) -> set[str]:
    return {path.name for path in (kits / name / "local").iterdir()}


def test_every_kit_gets_the_policy_of_its_role(kits):
    experiments = [Experiment(rank=4), Experiment(rank=8)]
    assert [kit.name for kit in lay(kits, POLICIES, experiments, None)] == ["north", "server", "south"]
    hospital = {"authorization.json", "privacy.json", "resources.json", "flap_gate.json", "flap_site.json"}
    assert local(kits, "north") == local(kits, "south") == hospital
    assert local(kits, "server") == {"authorization.json", "resources.json"}
    assert local(kits, "lead@x.org") == set()
    first = {kit.name for kit in kits.iterdir() if (kit / "comm_config.json").is_file()}
    assert first == {"north", "server", "south"}, "FLARE takes the first that it finds from the kit's own folder down"
    agreement = Agreement.read(kits / "north/local")
    assert all(agreement.admits(experiment) for experiment in experiments)
    assert not agreement.admits(Experiment(rank=16))


def test_a_new_agreement_leaves_what_the_hospital_filled_in(kits):
    lay(kits, POLICIES, [Experiment(rank=4)], None)
    site = kits / "north/local/flap_site.json"
    site.write_text(json.dumps({"data": "/data/store"}))
    gate = kits / "north/local/flap_gate.json"
    gate.write_text(json.dumps(json.loads(gate.read_text()) | {"largest_update": 2.5}))
    lay(kits, POLICIES, [Experiment(rank=8)], None)
    assert json.loads(site.read_text()) == {"data": "/data/store"}
    agreement = Agreement.read(kits / "north/local")
    assert agreement.largest_update == 2.5
    assert agreement.admits(Experiment(rank=8))
    assert not agreement.admits(Experiment(rank=4))


def test_every_wheel_is_pinned_by_hash(kits, tmp_path):
    house = tmp_path / "wheels"
    house.mkdir()
    wheels = {"flap_sam-0.1.0-py3-none-any.whl": b"ours", "numpy-2.1.0-cp311-cp311-manylinux_2_17_x86_64.whl": b"np"}
    for name, content in wheels.items():
        (house / name).write_bytes(content)
    lay(kits, POLICIES, [Experiment()], house)
    lock = (kits / "south" / LOCK).read_text().splitlines()
    assert lock == [
        f"flap_sam==0.1.0 --hash=sha256:{hashlib.sha256(b'ours').hexdigest()}",
        f"numpy==2.1.0 --hash=sha256:{hashlib.sha256(b'np').hexdigest()}",
    ]


def test_a_wheelhouse_without_the_package_is_refused(tmp_path):
    with pytest.raises(FlapSamError, match="holds no wheel of flap_sam"):
        locked(tmp_path)


def test_a_folder_without_kits_is_refused(tmp_path):
    with pytest.raises(FlapSamError, match="No startup kit lies in"):
        lay(tmp_path, POLICIES, [Experiment()], None)


def test_a_folder_without_a_policy_is_refused(kits, tmp_path):
    with pytest.raises(FlapSamError, match="No policy lies in"):
        lay(kits, tmp_path, [Experiment()], None)
