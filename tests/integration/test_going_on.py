# SPDX-License-Identifier: Apache-2.0
"""What an operator does after a run, by the user's commands: more rounds, another site, a start from its payload."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from flap_sam.records import run_record
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES
from flap_sam.wire import payload

from tests.conftest import write_site
from tests.integration.test_simulator import environment, results_of, staged
from tests.integration.test_simulator import simulate as simulate_by_flare

JOB = Path(__file__).parents[2] / "jobs/flap_sam_nifti"
QUICK = {"image_size": 32, "rank": 4, "batch_size": 4, "backbone": "vit_tiny", "payload_dtype": "int8"}
OF_TIME = ("run", "seconds", "server_seconds")


class Machine:
    """Where runs are simulated, with a store of three sites and one folder of states."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for i, site in enumerate("ABC"):
            splits = {"train": [(2 + i, 20, 28)], "validation": [(2, 24, 20)], "test": [(3, 20, 20)]}
            write_site(folder / "store", site, splits)
        self.settings = {"FLAP_SAM_DATA": str(folder / "store"), "FLAP_SAM_STATE": str(folder / "state")}

    def simulate(self, work: str, *words: object, sites: int = 2, **changes: object) -> Path:
        """`flap-sam simulate`: the results."""
        sets = [f"--set={name}={value}" for name, value in {**QUICK, **changes}.items()]
        flap_sam = Path(sys.executable).parent / "flap-sam"
        command = [flap_sam, "simulate", JOB, "--work", self.folder / work, "--sites", str(sites), *words, *sets]
        surroundings = environment(self.folder, **self.settings)
        run = subprocess.run(list(map(str, command)), env=surroundings, capture_output=True, text=True, check=False)
        self.told = run.stdout + run.stderr
        assert run.returncode == 0, self.told
        return self.folder / work / JOB.name / "server/simulate_job/results"

    def kept(self, kind: str) -> list[str]:
        return sorted(str(p.relative_to(self.folder / "state")) for p in (self.folder / "state").glob(f"*/*/{kind}*"))


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def short(machine) -> Path:
    results = machine.simulate("short", rounds=2)
    machine.before = shutil.copytree(machine.folder / "state", machine.folder / "before")
    return results


def rounds(results: Path) -> list[dict]:
    lines = map(json.loads, (results / "rounds.jsonl").read_text().splitlines())
    return [
        without(record, *OF_TIME, sites={s: without(r, "seconds") for s, r in record["sites"].items()})
        for record in lines
    ]


def without(record: dict, *names: str, **changes: object) -> dict:
    return {name: value for name, value in {**record, **changes}.items() if name not in names}


def same(one: Path, other: Path, kind: str) -> bool:
    found, expected = (payload.read(folder / PAYLOAD_FILES[kind]).tensors for folder in (one, other))
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_a_run_of_two_rounds_that_goes_on_to_four_is_a_run_of_four(machine, short, tmp_path):
    """To the bit, with what every party remembers: moments, the errors of its payloads, the best payload."""
    run = run_record.read(short).run
    kept = [f"{run}/server/round_00002.{kind}" for kind in ("safetensors", "sha256")]
    assert machine.kept("round") == kept + [f"{run}/site-{k}/round_00001.safetensors" for k in (1, 2)]
    whole = machine.simulate("whole", rounds=4)
    assert {path.split("/")[0] for path in machine.kept("round")} == {run_record.read(whole).run}, (
        "the last run's alone"
    )
    shutil.copytree(machine.before, machine.folder / "state", dirs_exist_ok=True)
    job = staged(JOB.name, tmp_path, {"resume": "latest"}, **QUICK, rounds=4)
    told = simulate_by_flare(job, tmp_path / "more", 2, 2, **machine.settings)
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"run {run} goes on from round 2" in told.stdout + told.stderr
    more = results_of(tmp_path / "more")
    assert rounds(more) == rounds(whole)
    assert rounds(more)[:2] == rounds(short)
    assert all(same(more, whole, kind) for kind in (FINAL, BEST))
    assert json.loads((more / "test_dice.json").read_text()) == json.loads((whole / "test_dice.json").read_text())


def test_a_run_starts_from_the_payload_of_another(machine, short):
    """Round 0 scores it as the other run's last evaluation did; with no learning to speak of it stays what it is."""
    final = short / PAYLOAD_FILES[FINAL]
    started = machine.simulate("started", "--start", final, rounds=1, seed=5, learning_rate=1e-9)
    scored = json.loads((short / "test_dice.json").read_text())["payloads"]["final"]
    validation = {site: record["validation"] for site, record in rounds(started)[0]["sites"].items()}
    assert validation == {site: report["validation"] for site, report in scored.items()}
    again = payload.read(started / PAYLOAD_FILES[FINAL]).tensors
    for name, tensor in payload.read(final).tensors.items():
        if not name.endswith((".A", ".B")):
            assert torch.allclose(again[name], tensor, atol=1e-4), name
