# SPDX-License-Identifier: Apache-2.0
"""What hospitals' networks and machines do, for real in the simulator: the run goes on, and says what happened."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from flap_sam.config.run_policy import RunPolicy
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES
from flap_sam.records.round_log import ROUND_LOG
from flap_sam.rounds.aggregate import Aggregator
from flap_sam.wire import payload
from safetensors.torch import load_file

from tests.conftest import write_site
from tests.integration.test_simulator import command, environment, results_of, simulate, staged

pytestmark = pytest.mark.slow

SITES = ("site-1", "site-2", "site-3")
SLICES = {"site-1": 2, "site-2": 3, "site-3": 4}
FAULTS = {
    "1": ("raises", "FLARE says EXECUTION"),
    "2": ("nan", "holds NaN or infinity"),
    "3": ("shape", r"has shape \[3, 128\]; expected \[4, 128\]"),
    "4": ("extra", "tensor image_encoder.pos_embed is not part of the experiment"),
    "5": ("huge", "expected at most 10 times the median"),
    "6": ("stale", "it answers round 5, not 6"),
    "7": ("greedy", "1000000 training slices; expected 1 to 3, its registered number"),
    "8": ("twice", None),
    "9": ("silent", None),
    "11": ("dies", None),
}
ROUNDS = 13


@pytest.fixture
def store(tmp_path) -> Path:
    for i, site in enumerate("ABC"):
        splits = {"train": [(2 + i, 20, 28)], "validation": [(2, 24, 20)], "test": [(3, 20, 20)]}
        write_site(tmp_path / "store", site, splits)
    return tmp_path / "store"


QUICK = {"image_size": 32, "rank": 4, "batch_size": 4, "backbone": "vit_tiny"}


def faulty(job: Path, kept: Path) -> None:
    """Give a staged job the executor that fails."""
    shutil.copy(Path(__file__).parent / "faulty" / "faulty.py", job / "app/custom/faulty.py")
    path = job / "app/config/config_fed_client.json"
    config = json.loads(path.read_text())
    faults = {number: fault for number, (fault, _) in FAULTS.items()}
    config["executors"][0]["executor"] = {
        "path": "faulty.FaultyExecutor",
        "args": {"site": "site-2", "faults": faults, "asleep": 12.0, "kept": str(kept)},
    }
    path.write_text(json.dumps(config))


def test_every_fault_of_a_site_is_survived_and_told(tmp_path, store):
    policy = {"min_sites": 2, "round_timeout": 60, "wait_after_min": 6, "largest_slices": {"site-2": 3}}
    job = staged("flap_sam_nifti", tmp_path, policy, **QUICK, rounds=ROUNDS)
    kept = tmp_path / "kept"
    kept.mkdir()
    faulty(job, kept)
    run = simulate(job, tmp_path / "work", sites=3, threads=3, FLAP_SAM_DATA=str(store))
    assert run.returncode == 0, run.stdout + run.stderr
    results = results_of(tmp_path / "work")
    rounds = [json.loads(line) for line in (results / ROUND_LOG).read_text().splitlines()]
    assert len(rounds) == ROUNDS
    for record in rounds:
        fault, sentence = FAULTS.get(str(record["round"]), (None, None))
        if fault in (None, "twice"):
            assert record["refused"] == {}, record["round"]
        elif sentence:
            assert re.search(sentence, record["refused"]["site-2"]), fault
    assert list(rounds[8]["sites"]) == list(SITES), "an answer that comes twice counts once"
    assert all(rounds[n]["missing"] == ["site-2"] for n in (9, 11, 12)), "silent, and dead from round 11 on"
    file = payload.read(results / PAYLOAD_FILES[FINAL])
    final, experiment = file.tensors, file.experiment
    following = [load_file(kept / f"received_site-1_{n}.safetensors") for n in range(1, ROUNDS)] + [final]
    for record, found in zip(rounds, following, strict=True):
        expected = merged(experiment, kept, record["round"], record["sites"])
        assert all(torch.equal(found[name], expected[name]) for name in expected), record["round"]
    at_the_server = "".join(p.read_text(errors="replace") for p in (tmp_path / "work/server").rglob("*") if p.is_file())
    assert "patient_7" not in at_the_server


def merged(experiment, kept: Path, number: int, counted) -> dict[str, torch.Tensor]:
    """What the sites that counted make together, worked out apart from the run."""
    server = Aggregator()
    server.begin(experiment, RunPolicy())
    if number:
        server.start_round(load_file(kept / f"received_site-1_{number}.safetensors"), number)
    for site in counted:
        sent = load_file(kept / f"sent_{site}_{number}.safetensors")
        server.accept(site, SLICES[site], sent)
    return server.close().payload


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path, store):
    settings = {**QUICK, "rounds": 5, "strategy": "residual", "adapter": "mole"}
    job = staged("flap_sam_nifti", tmp_path, **settings)
    whole = simulate(job, tmp_path / "whole", sites=3, threads=3, FLAP_SAM_DATA=str(store))
    assert whole.returncode == 0, whole.stdout + whole.stderr

    state = tmp_path / "state_of_killed"
    surroundings = environment(tmp_path, FLAP_SAM_DATA=str(store), FLAP_SAM_STATE=str(state))
    killed = subprocess.Popen(
        command(job, tmp_path / "killed", 3, 3),
        env=surroundings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: list(state.glob("*/server/round_00003.sha256")))
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    again = staged("flap_sam_nifti", tmp_path / "again", {"resume": "latest"}, **settings)
    resumed = simulate(again, tmp_path / "resumed", 3, 3, FLAP_SAM_DATA=str(store), FLAP_SAM_STATE=str(state))
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "goes on from round" in resumed.stdout + resumed.stderr
    for kind in (FINAL, BEST):
        expected = payload.read(results_of(tmp_path / "whole") / PAYLOAD_FILES[kind]).tensors
        found = payload.read(results_of(tmp_path / "resumed") / PAYLOAD_FILES[kind]).tensors
        assert all(torch.equal(found[name], expected[name]) for name in expected), kind
    for name in ("rounds.jsonl", "test_dice.json"):
        assert told(results_of(tmp_path / "resumed") / name) == told(results_of(tmp_path / "whole") / name)


def wait_for(happened, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def told(path: Path) -> str:
    """A file's text without what differs between two runs of one experiment: clocks and the run's name."""
    return re.sub(r'"(run|seconds|server_seconds|bytes_down|bytes_up)": [^,]+', "", path.read_text())
