# SPDX-License-Identifier: Apache-2.0
"""The real job in FLARE's simulator: the plain command, our jobs, small stores."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES
from flap_sam.wire import payload
from nvflare.tool.job.job_cli import _discover_job_download_artifacts

from tests.conftest import write_site

pytestmark = pytest.mark.slow

JOBS = Path(__file__).parents[2] / "jobs"
MAIN = "flap_sam_kits"


def staged(job: str, folder: Path, policy: dict | None = None, **settings) -> Path:
    """A copy of a job with some of its settings changed."""
    copy = shutil.copytree(JOBS / job, folder / job)
    path = copy / "app/config/config_fed_server.json"
    config = json.loads(path.read_text())
    config["experiment"] |= settings
    config["run_policy"] |= policy or {}
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


QUICK = {"image_size": 32, "rank": 4, "rounds": 2, "batch_size": 4, "backbone": "vit_tiny", "ranks": {"site-2": 2}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two sites."""
    folder = tmp_path_factory.mktemp("data") / "store"
    for i, site in enumerate("AB"):
        splits = {"train": [(2 + i, 20, 28)], "validation": [(2, 24, 20)], "test": [(3, 20, 20)]}
        write_site(folder, site, splits)
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    """The results of the main job, its two sites in processes that stay."""
    folder = tmp_path_factory.mktemp("together")
    run = simulate(staged(MAIN, folder, **QUICK), folder / "work", sites=2, threads=2, FLAP_SAM_DATA=str(store))
    assert run.returncode == 0, run.stdout + run.stderr
    return results_of(folder / "work")


def test_flares_own_tools_find_model_and_metrics(together):
    found, _ = _discover_job_download_artifacts(str(together.parent))
    assert found["global_model"] == str(together / PAYLOAD_FILES[BEST])
    summary = json.loads(Path(found["metrics_summary"]).read_text())
    assert (summary["final_round"], summary["job_name"]) == (1, MAIN)
    rounds = [json.loads(line) for line in Path(found["round_metrics"]).read_text().splitlines()]
    assert [[site["name"] for site in line["sites"]] for line in rounds] == [["site-1", "site-2"]] * 2


def test_the_main_job_runs_with_nothing_held_in_memory_between_tasks(tmp_path, store, together):
    job, work = staged(MAIN, tmp_path, **QUICK), tmp_path / "work"
    run = simulate(job, work, sites=2, threads=1, FLAP_SAM_DATA=str(store))
    assert run.returncode == 0, run.stdout + run.stderr
    results = results_of(work)
    rounds = [json.loads(line) for line in (results / "rounds.jsonl").read_text().splitlines()]
    assert [r["round"] for r in rounds] == [0, 1]
    for record in rounds:
        assert {site: r["slices"] for site, r in record["sites"].items()} == {"site-1": 2, "site-2": 3}
        assert 0 < record["svd_energy_kept"] <= 1
    file = payload.read(results / PAYLOAD_FILES[FINAL])
    tensors, experiment = file.tensors, file.experiment
    payload.read(results / PAYLOAD_FILES[BEST])
    assert (experiment.rank, experiment.rounds) == (4, 2)
    numbers = 4 * sum(t.numel() for t in tensors.values())
    sent = {site: r["bytes_up"] for site, r in rounds[1]["sites"].items()}
    assert sent["site-2"] < numbers < sent["site-1"], "site-2 has half the rank"
    same = payload.read(together / PAYLOAD_FILES[FINAL]).tensors
    assert all(torch.equal(same[name], tensors[name]) for name in tensors), "processes that stay give the same bits"
    table = json.loads((results / "test_dice.json").read_text())["payloads"]
    assert table["final"].keys() == table["best"].keys() == rounds[0]["sites"].keys()
    assert f"results in {results}; `flap-sam results`" in run.stdout + run.stderr
    everything = "".join(p.read_text(errors="replace") for p in (work / "server").rglob("*") if p.is_file())
    assert str(store) not in everything, "no path of a site reaches the server"
    assert "case_0" not in everything, "no case name either"


def test_the_environment_gives_the_bits_of_the_simulator(tmp_path, store, together):
    settings = environment(tmp_path, FLAP_SAM_DATA=str(store))
    changes = [f"--set={name}={json.dumps(value)}" for name, value in QUICK.items()]
    words = [Path(sys.executable).parent / "flap-sam", "simulate", JOBS / MAIN, "--work", tmp_path / "new"]
    run = [*words, "--sites", "2", *changes]
    new = subprocess.run(run, env=settings, capture_output=True, text=True, check=False)
    assert new.returncode == 0, new.stdout + new.stderr
    results = tmp_path / "new" / MAIN / "server/simulate_job/results"
    for file in (PAYLOAD_FILES[kind] for kind in (FINAL, BEST)):
        found, expected = (payload.read(folder / file).tensors for folder in (results, together))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected), file
    assert "Dice on the sites' test cases" in new.stdout
    assert new.stdout.count("to go on:") == 1
    assert "ClientTaskWorker" not in new.stdout
    assert "deprecated" not in new.stdout + new.stderr


def test_what_sites_cannot_do_ends_the_run_with_one_sentence(tmp_path, store):
    """Two sites have no checkpoint, the third has no data in the store. One would be enough: all are heard."""
    missing, work = tmp_path / "no.pth", tmp_path / "work"
    job = staged(MAIN, tmp_path, {"min_sites": 1}, **QUICK)
    run = simulate(job, work, sites=3, threads=3, FLAP_SAM_DATA=str(store), FLAP_SAM_CHECKPOINT=str(missing))
    told = run.stdout + run.stderr
    assert run.returncode != 0
    assert "Traceback" not in told
    for site in ("site-1", "site-2"):
        assert re.search(rf"{site}: [^;]*checkpoint is missing", told)
    assert "site-3: its data store is missing or cannot be used" in told
    own = (work / "site-3/log.txt").read_text()
    assert "has no site 'site-3', it holds A, B" in own, "the site's own log says what there is"
    assert_only_reasons_reach_the_server(work, store, missing)


def assert_only_reasons_reach_the_server(work: Path, *paths: Path) -> None:
    """No path of a site is in any file of the server's."""
    told = "".join(p.read_text(errors="replace") for p in (work / "server").rglob("*") if p.is_file())
    assert not [path for path in paths if str(path) in told]


def test_a_bad_setting_ends_the_run_with_one_sentence(tmp_path, store):
    job = staged("flap_sam_nifti", tmp_path, **QUICK | {"rank": 0})
    run = simulate(job, tmp_path / "work", sites=1, threads=1, FLAP_SAM_DATA=str(store))
    assert run.returncode != 0
    assert "The experiment's rank is 0; expected 1 to 1024." in run.stdout + run.stderr
