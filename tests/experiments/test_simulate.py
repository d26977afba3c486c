# SPDX-License-Identifier: Apache-2.0
"""What is started in FLARE's simulation environment, and how it ends; `tests/integration` looks at what comes out."""

import json
import os
import re
from pathlib import Path

import pytest
from flap_sam.config.job import CLIENT_CONFIG, Job
from flap_sam.errors import FlapSamError
from flap_sam.experiments.simulate import finish, simulate
from flap_sam.records.results import TEST_DICE

JOB = Path(__file__).parents[2] / "jobs/flap_sam_nifti"
QUICK = {"image_size": 32, "rank": 4, "rounds": 2, "batch_size": 4, "backbone": "vit_tiny"}


def without_demo(folder: Path) -> Path:
    """A copy of the job in which a site without data has nothing to work on."""
    Job.read(JOB).copy(folder, {})
    client = json.loads((folder / CLIENT_CONFIG).read_text())
    del client["executors"][0]["executor"]["args"]
    (folder / CLIENT_CONFIG).write_text(json.dumps(client))
    return folder


@pytest.mark.slow
def test_a_run_that_fails_ends_with_its_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("FLAP_SAM_DATA", raising=False)
    job = without_demo(tmp_path / "jobs" / JOB.name)
    with pytest.raises(FlapSamError, match=r"failed: The run stops: .*no data is configured at the site"):
        finish(job, tmp_path / "work", 2)


def test_what_cannot_be_run_is_not_started(tmp_path):
    with pytest.raises(FlapSamError, match="3 threads are more than the 2 sites"):
        simulate(Job.read(JOB), {}, tmp_path / "work", 2, 3)
    with pytest.raises(FlapSamError, match="rank is 0"):
        simulate(Job.read(JOB), {"rank": 0}, tmp_path / "work", 2)
    assert not (tmp_path / "work").exists()


def test_more_sites_than_the_store_has_are_not_started(store, tmp_path, monkeypatch):
    monkeypatch.chdir(store.parent)
    monkeypatch.setenv("FLAP_SAM_DATA", store.name)
    with pytest.raises(FlapSamError, match=r"4 sites are more than .*/store has, 3 \(A, B, C\); lower --sites"):
        simulate(Job.read(JOB), QUICK, tmp_path / "work", 4)
    assert os.environ["FLAP_SAM_DATA"] == str(store)


@pytest.mark.parametrize(("name", "sites"), [("flap_sam_ixi", "3 (Guys, HH, IOP)"), ("flap_sam_nifti", "6 (A, B,")])
def test_more_sites_than_the_demo_has_are_not_started(tmp_path, monkeypatch, name, sites):
    monkeypatch.delenv("FLAP_SAM_DATA", raising=False)
    with pytest.raises(FlapSamError, match=re.escape(f"7 sites are more than the demo has, {sites}")):
        simulate(Job.read(JOB.with_name(name)), QUICK, tmp_path / "work", 7)


def test_a_job_is_never_emptied_for_its_own_simulation(tmp_path):
    job = Job.read(Job.read(JOB).copy(tmp_path / "jobs" / "mine", QUICK))
    with pytest.raises(FlapSamError, match="mine is a job, and would be emptied"):
        simulate(job, {}, tmp_path / "jobs", 1)
    assert Job.read(job.folder) == job


@pytest.mark.parametrize(("own", "threads", "expected"), [(None, 2, "4"), (None, 20, "1"), ("3", 2, "3")])
def test_sites_share_the_processors_unless_the_user_says_otherwise(tmp_path, monkeypatch, own, threads, expected):
    seen = []

    def run(job: Path, work: Path, sites: int, threads: int, _: list[Path]) -> Path:
        seen.append((os.environ["OMP_NUM_THREADS"], job.name, sites, threads))
        results = work / "results"
        results.mkdir(parents=True)
        (results / TEST_DICE).touch()
        return work

    monkeypatch.setattr("flap_sam.federation.environment.simulate", run)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.setenv("OMP_NUM_THREADS", own or "")
    if own is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    job = Job.read(without_demo(tmp_path / "jobs" / JOB.name))
    assert simulate(job, QUICK, tmp_path / "work", 20, threads) == tmp_path / "work/results"
    assert seen == [(expected, JOB.name, 20, threads)]


def test_a_run_without_results_is_no_success(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("flap_sam.federation.environment.simulate", lambda *_: tmp_path)
    with pytest.raises(FlapSamError, match="ended without results"):
        simulate(Job.read(JOB), QUICK, tmp_path / "work", 2)


def test_what_a_run_goes_on_from_or_starts_from_goes_into_its_job(tmp_path, monkeypatch):
    """The job lies in a temporary folder, and the server finds the payload wherever the user stood."""
    seen = []

    def run(job: Path, work: Path, *_) -> Path:
        seen.append((Job.read(job).policy, os.environ.get("FLAP_SAM_PAYLOADS")))
        (work / "results").mkdir(parents=True)
        (work / "results" / TEST_DICE).touch()
        return work

    monkeypatch.setattr("flap_sam.federation.environment.simulate", run)
    monkeypatch.setenv("FLAP_SAM_PAYLOADS", "elsewhere")
    monkeypatch.chdir(tmp_path)
    job = Job.read(JOB)
    simulate(job, QUICK, tmp_path / "a", 2)
    simulate(job, QUICK, tmp_path / "b", 2, resume="latest")
    simulate(job, QUICK, tmp_path / "c", 2, start=Path("runs/a.safetensors"))
    assert [policy for policy, _ in seen] == [
        job.policy,
        job.policy.changed(resume="latest"),
        job.policy.changed(start="a.safetensors"),
    ]
    assert [folder for _, folder in seen] == [str(tmp_path / "elsewhere")] * 2 + [str(tmp_path / "runs")]
    for words in ({"resume": "../run"}, {"start": Path("a.pth")}, {"resume": "latest", "start": Path("a.safetensors")}):
        with pytest.raises(FlapSamError, match="The run policy's"):
            simulate(job, QUICK, tmp_path / "d", 2, **words)
    assert len(seen) == 3
