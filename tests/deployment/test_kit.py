# SPDX-License-Identifier: Apache-2.0
"""A kit filled in by its owner: what it agrees to, what it has, where its things lie; the rest is as provisioned."""

import json
from pathlib import Path

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.config.site import Site
from flap_sam.deployment.kit import fill
from flap_sam.errors import FlapSamError
from flap_sam.federation.kits.policy import HOSPITAL, LOCK, SERVER, STARTUP_FILES, lay
from flap_sam.federation.kits.resources import gpus_of
from flap_sam.gate.agreement import Agreement

NOISE = {"clip": 1.0, "noise_multiplier": 1.0, "epsilon": 8.0, "delta": 1e-5, "slices": 100}


def bare(folder: Path, role: str) -> Path:
    (folder / "local").mkdir(parents=True)
    (folder / "startup").mkdir()
    (folder / "startup" / STARTUP_FILES[role]).write_text("{}")
    return folder


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A hospital's kit as provisioned."""
    lay(bare(tmp_path / "north", HOSPITAL), HOSPITAL)
    return tmp_path / "north"


def contents(kit: Path) -> dict[str, str]:
    return {str(path.relative_to(kit)): path.read_text() for path in kit.rglob("*") if path.is_file()}


def test_a_hospital_agrees_to_the_jobs_that_it_names_and_to_no_other(kit):
    experiments = [Experiment(rank=4), Experiment(rank=8, ranks={"north": 2})]
    fill(kit, experiments)
    agreement = Agreement.read(kit / "local")
    assert agreement.experiments == tuple(experiments)
    assert not agreement.admits(Experiment(rank=16))


def test_nothing_but_what_was_said_changes(kit):
    before = contents(kit)
    fill(kit)
    assert contents(kit) == before
    for said, file in (
        ({"experiments": [Experiment()]}, "local/flap_gate.json"),
        ({"gpus": 2}, "local/resources.json"),
        ({"settings": {"name": "A"}}, "local/flap_site.json"),
    ):
        before = contents(kit)
        fill(kit, **said)
        after = contents(kit)
        assert {name for name in after if after[name] != before.get(name)} == {file}


def test_a_path_that_another_folder_would_change_is_not_filled_in(kit):
    before = contents(kit)
    with pytest.raises(FlapSamError, match="data is 'store', expected a path from the root"):
        fill(kit, settings={"data": "store"})
    assert contents(kit) == before


def test_what_was_filled_in_before_stays(kit):
    fill(kit, [Experiment(rank=4)], 3, {"name": "A", "data": "/data"})
    gate = kit / "local/flap_gate.json"
    gate.write_text(json.dumps(json.loads(gate.read_text()) | {"largest_update": 2.5}))
    fill(kit, [Experiment(rank=8)], settings={"device": "cpu"})
    agreement = Agreement.read(kit / "local")
    assert (agreement.largest_update, agreement.experiments) == (2.5, (Experiment(rank=8),))
    site = Site.read(kit / "local")
    assert (site.name, site.data, site.device) == ("A", Path("/data"), "cpu")
    assert gpus_of(json.loads((kit / "local/resources.json").read_text())) == 3
    fill(kit, gpus=0)
    assert gpus_of(json.loads((kit / "local/resources.json").read_text())) == 0


@pytest.mark.parametrize("role", STARTUP_FILES)
def test_a_kit_that_was_provisioned_without_the_builder_becomes_the_same(tmp_path, role):
    with_builder, without = (bare(tmp_path / name, role) for name in ("with", "without"))
    lay(with_builder, role, lock="lock")
    fill(without, lock="lock")
    assert contents(without) == contents(with_builder)
    assert (without / LOCK).read_text() == "lock"


@pytest.mark.parametrize("said", [{"experiments": [Experiment()]}, {"gpus": 0}, {"settings": {"name": "A"}}])
def test_a_server_agrees_to_nothing(tmp_path, said):
    kit = bare(tmp_path / "server", SERVER)
    with pytest.raises(FlapSamError, match="is the server's kit"):
        fill(kit, **said)
    assert list(contents(kit)) == ["startup/fed_server.json"]


@pytest.mark.parametrize("make", [lambda kit: kit.parent, lambda kit: kit / "local", lambda kit: kit / "nowhere"])
def test_what_is_no_kit_is_refused(kit, make):
    with pytest.raises(FlapSamError, match="is no startup kit of a server or a hospital; name the kits themselves"):
        fill(make(kit), [Experiment()])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dat": "/data"}, "dat is unknown"),
        ({"data": 3}, "data is 3"),
        ({"processes": 2, "device": "cuda:0"}, "processes is 2"),
        ({"memory": "little"}, "memory is 'little'"),
    ],
)
def test_settings_that_a_site_cannot_have_are_not_filled_in(kit, settings, sentence):
    before = contents(kit)
    with pytest.raises(FlapSamError, match=rf"flap_site\.json is not filled in: .*{sentence}"):
        fill(kit, [Experiment()], settings=settings)
    assert contents(kit) == before


def test_an_agreement_that_would_mean_nothing_is_not_filled_in(kit):
    gate = kit / "local/flap_gate.json"
    gate.write_text(json.dumps(json.loads(gate.read_text()) | {"metrics": [], "privacy": NOISE}))
    before = contents(kit)
    with pytest.raises(FlapSamError, match=r"flap_gate\.json is not filled in: .*payload_dtype"):
        fill(kit, [Experiment(payload_dtype="int8")], settings={"name": "A"})
    assert contents(kit) == before


@pytest.mark.parametrize("file", ["flap_site.json", "flap_gate.json", "resources.json"])
def test_a_file_that_cannot_be_read_is_named(kit, file):
    (kit / "local" / file).write_text("{")
    with pytest.raises(FlapSamError, match=rf"{file} cannot be read .*take it out"):
        fill(kit, [Experiment()], 1, {"name": "A"})
