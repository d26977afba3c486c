"""The real job in FLARE's simulator: the plain command, our jobs, small stores."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES
from flap_sam.wire import payload

from tests.conftest import write_site

JOBS = Path(__file__).parents[2] / "jobs"


def staged(job: str, folder: Path, conduct: dict | None = None, **settings) -> Path:
    """A copy of a job with some of its settings changed."""
    copy = shutil.copytree(JOBS / job, folder / job)
    path = copy / "app/config/config_fed_server.json"
    config = json.loads(path.read_text())
    config["experiment"] |= settings
    config["conduct"] |= conduct or {}
    path.write_text(json.dumps(config))
    return copy


def command(job: Path, work: Path, sites: int, threads: int) -> list[str]:
    words = [Path(sys.executable).parent / "nvflare", "simulator", job, "-w", work, "-n", sites, "-t", threads]
    return [str(word) for word in words]


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """This process's, without its own settings for the package; state is kept in the folder."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FLAP_SAM_")}
    return {**clean, "OMP_NUM_THREADS": "1", "FLAP_SAM_STATE": str(folder / "state"), **settings}


def simulate(job: Path, work: Path, sites: int, threads: int, **settings: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(job, work, sites, threads),
        env=environment(work.parent, **settings),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def results_of(work: Path) -> Path:
    return work / "server/simulate_job/results"


@pytest.fixture
def quick(tmp_path) -> dict:
    """A store of three sites and the settings of two short rounds on it."""
    for i, site in enumerate("ABC"):
        write_site(
            tmp_path / "store", site, {"train": [(2 + i, 20, 28)], "validation": [(2, 24, 20)], "test": [(3, 20, 20)]}
        )
    return {"image_size": 32, "rank": 4, "rounds": 2, "batch_size": 4, "backbone": "vit_tiny", "ranks": {"site-2": 2}}


def test_the_main_job_runs_with_nothing_held_in_memory_between_tasks(tmp_path, quick):
    job, work = staged("flap_sam_kits", tmp_path, **quick), tmp_path / "work"
    run = simulate(job, work, sites=3, threads=1, FLAP_SAM_DATA=str(tmp_path / "store"))
    assert run.returncode == 0, run.stdout + run.stderr
    results = work / "server/simulate_job/results"
    rounds = [json.loads(line) for line in (results / "rounds.jsonl").read_text().splitlines()]
    assert [r["round"] for r in rounds] == [0, 1]
    for record in rounds:
        assert {site: r["slices"] for site, r in record["sites"].items()} == {"site-1": 2, "site-2": 3, "site-3": 4}
        assert 0 < record["svd_energy_kept"] <= 1
    file = payload.read(results / PAYLOAD_FILES[FINAL])
    tensors, experiment = file.tensors, file.experiment
    payload.read(results / PAYLOAD_FILES[BEST])
    assert (experiment.rank, experiment.rounds) == (4, 2)
    numbers = 4 * sum(t.numel() for t in tensors.values())
    sent = {site: r["bytes_up"] for site, r in rounds[1]["sites"].items()}
    assert sent["site-2"] < numbers < min(sent["site-1"], sent["site-3"]), "site-2 has half the rank"
    together = tmp_path / "together"
    run = simulate(job, together, sites=3, threads=3, FLAP_SAM_DATA=str(tmp_path / "store"))
    assert run.returncode == 0, run.stdout + run.stderr
    same = payload.read(together / "server/simulate_job/results" / PAYLOAD_FILES[FINAL]).tensors
    assert all(torch.equal(same[name], tensors[name]) for name in tensors), "processes that stay give the same bits"
    table = json.loads((results / "test_dice.json").read_text())["payloads"]
    assert table["final"].keys() == table["best"].keys() == rounds[0]["sites"].keys()
    assert "Dice on the sites' test cases" in run.stdout + run.stderr
    everything = "".join(p.read_text(errors="replace") for p in (work / "server").rglob("*") if p.is_file())
    assert str(tmp_path / "store") not in everything, "no path of a site reaches the server"
    assert "case_0" not in everything, "no case name either"


@pytest.mark.parametrize(
    ("job", "environment", "sentence"),
    [
        ("flap_sam_nifti", {}, "no data is configured at the site"),
        ("flap_sam_nifti", {"FLAP_SAM_DATA": "{tmp}/nowhere"}, "its data store is missing or cannot be used"),
        (
            "flap_sam_kits",
            {"FLAP_SAM_DATA": "{tmp}/store", "FLAP_SAM_CHECKPOINT": "{tmp}/no.pth"},
            "checkpoint is missing",
        ),
    ],
)
def test_what_a_site_cannot_do_ends_the_run_with_one_sentence(tmp_path, quick, job, environment, sentence):
    environment = {name: value.format(tmp=tmp_path) for name, value in environment.items()}
    run = simulate(staged(job, tmp_path, **quick), tmp_path / "work", sites=2, threads=2, **environment)
    assert run.returncode != 0
    assert sentence in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    at_the_server = "".join(p.read_text(errors="replace") for p in (tmp_path / "work/server").rglob("*") if p.is_file())
    for path in environment.values():
        assert path not in at_the_server


def test_a_site_that_the_store_lacks_ends_the_run(tmp_path, quick):
    job = staged("flap_sam_nifti", tmp_path, **quick)
    run = simulate(job, tmp_path / "work", sites=4, threads=4, FLAP_SAM_DATA=str(tmp_path / "store"))
    assert run.returncode != 0
    assert "site-4: its data store is missing or cannot be used" in run.stdout + run.stderr
    own = (tmp_path / "work/site-4/log.txt").read_text()
    assert "has no site 'site-4', it holds A, B, C" in own, "the site's own log says what there is"


def test_a_bad_setting_ends_the_run_with_one_sentence(tmp_path, quick):
    job = staged("flap_sam_nifti", tmp_path, **{**quick, "rank": 0})
    run = simulate(job, tmp_path / "work", sites=2, threads=2, FLAP_SAM_DATA=str(tmp_path / "store"))
    assert run.returncode != 0
    assert "The experiment's rank is 0; expected 1 to 1024." in run.stdout + run.stderr
