# SPDX-License-Identifier: Apache-2.0
"""What is started in FLARE's simulation environment, and how it ends; `tests/integration` looks at what comes out."""

import json
import os
import re
from pathlib import Path

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.config.job import CLIENT_CONFIG, Job
from flap_sam.config.run_policy import RunPolicy
from flap_sam.config.site import ENVIRONMENT, Site
from flap_sam.data.manifest import read_manifest
from flap_sam.data.store import MANIFEST
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
        simulate(Job.read(JOB), tmp_path / "work", 2, threads=3)
    with pytest.raises(FlapSamError, match="rank is 0"):
        simulate(Job.read(JOB).changed({"rank": 0}), tmp_path / "work", 2)
    assert not (tmp_path / "work").exists()


def test_more_sites_than_the_store_has_are_not_started(store, tmp_path, monkeypatch):
    monkeypatch.chdir(store.parent)
    monkeypatch.setenv("FLAP_SAM_DATA", store.name)
    with pytest.raises(FlapSamError, match=r"4 sites are more than .*/store has, 3 \(A, B, C\); lower --sites"):
        simulate(Job.read(JOB).changed(QUICK), tmp_path / "work", 4)
    with pytest.raises(FlapSamError, match=r"4 sites are more than .*/store has, 3 \(A, B, C\); lower --sites"):
        simulate(Experiment(), tmp_path / "work", 4, site=Site(data=store.name))


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_a_store_of_other_classes_is_not_started(store, tmp_path, started, classes):
    held = len(read_manifest(store / "A" / MANIFEST).classes)
    experiment = Experiment(classes=classes)
    if classes == held:
        simulate(experiment, tmp_path / "work", 1, site=Site(data=store))
    else:
        with pytest.raises(FlapSamError, match=f"Site A of .* has {held} .*the experiment has {classes}; set classes"):
            simulate(experiment, tmp_path / "work", 1, site=Site(data=store))
    assert bool(started) == (classes == held)


def test_a_store_without_a_site_is_not_started(tmp_path, started):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FlapSamError, match=f"{folder} holds no prepared site; make it with"):
            simulate(Experiment(), tmp_path / "work", 1, site=Site(data=folder))
    assert not started


@pytest.mark.parametrize(("name", "sites"), [("flap_sam_ixi", "3 (Guys, HH, IOP)"), ("flap_sam_nifti", "6 (A, B,")])
def test_more_sites_than_the_demo_has_are_not_started(tmp_path, monkeypatch, name, sites):
    monkeypatch.delenv("FLAP_SAM_DATA", raising=False)
    with pytest.raises(FlapSamError, match=re.escape(f"7 sites are more than the demo has, {sites}")):
        simulate(Job.read(JOB.with_name(name)).changed(QUICK), tmp_path / "work", 7)


def test_a_job_is_never_emptied_for_its_own_simulation(tmp_path):
    job = Job.read(Job.read(JOB).copy(tmp_path / "jobs" / "mine", QUICK))
    with pytest.raises(FlapSamError, match="mine is a job, and would be emptied"):
        simulate(job, tmp_path / "jobs", 1)
    assert Job.read(job.folder) == job


@pytest.fixture
def started(monkeypatch) -> list[tuple[Job, Path, tuple[int, int], dict[str, str]]]:
    """What would be started: jobs, folders for workspaces, numbers of sites and threads, environments."""
    seen = []

    def run(job: Path, work: Path, sites: int, threads: int, _: list[Path], variables: dict[str, str]) -> Path:
        seen.append((Job.read(job), work, (sites, threads), variables))
        (work / "results").mkdir(parents=True)
        (work / "results" / TEST_DICE).touch()
        return work

    monkeypatch.setattr("flap_sam.federation.environment.simulate", run)
    return seen


def test_a_job_is_started_as_it_was_changed(tmp_path, started):
    job = Job.read(without_demo(tmp_path / "jobs" / JOB.name)).changed(QUICK)
    assert simulate(job, tmp_path / "work", 20, threads=2) == tmp_path / "work/results"
    [(laid, work, counts, _)] = started
    assert (laid.folder.name, counts, work) == (JOB.name, (20, 2), tmp_path / "work")
    assert laid.settings == job.settings


def test_a_run_without_results_is_no_success(tmp_path, monkeypatch):
    monkeypatch.setattr("flap_sam.federation.environment.simulate", lambda *_: tmp_path)
    with pytest.raises(FlapSamError, match="ended without results"):
        simulate(Job.read(JOB).changed(QUICK), tmp_path / "work", 2)


def test_what_a_run_goes_on_from_or_starts_from_goes_into_its_job(tmp_path, monkeypatch, started):
    """The job lies in a temporary folder, and the server finds the payload wherever the user stood."""
    monkeypatch.setenv("FLAP_SAM_PAYLOADS", "elsewhere")
    monkeypatch.chdir(tmp_path)
    before, job = dict(os.environ), Job.read(JOB).changed(QUICK)
    resumed = job.policy.changed(resume="latest")
    simulate(job, tmp_path / "a", 2)
    simulate(job, tmp_path / "b", 2, policy=resumed)
    simulate(job, tmp_path / "c", 2, start="runs/a.safetensors")
    policies = [job.policy, resumed, job.policy.changed(start="a.safetensors")]
    assert [laid.policy for laid, *_ in started] == policies
    folders = [variables["FLAP_SAM_PAYLOADS"] for *_, variables in started]
    assert folders == [str(tmp_path / "elsewhere")] * 2 + [str(tmp_path / "runs")]
    assert dict(os.environ) == before, "the caller's environment is its own"
    for words in ({"start": Path("a.pth")}, {"policy": resumed, "start": Path("a.safetensors")}):
        with pytest.raises(FlapSamError, match="The run policy's"):
            simulate(job, tmp_path / "d", 2, **words)
    assert len(started) == 3


def test_an_experiment_becomes_a_job_of_its_policy(store, tmp_path, monkeypatch, started):
    monkeypatch.setenv("FLAP_SAM_DEVICE", "cuda:7")
    monkeypatch.chdir(store.parent)
    experiment, policy = Experiment(rank=4, ranks={"site-2": 2}), RunPolicy(min_sites=2)
    site = Site(data=store.name, checkpoint="random")
    simulate(experiment, str(tmp_path / "work"), 3, policy=policy, site=site)
    [(laid, _, counts, variables)] = started
    assert (laid.experiment(), laid.policy, laid.demo) == (experiment, policy, None)
    assert (laid.folder.name, counts) == ("flap_sam", (3, 3))
    found = {name: value for name, value in variables.items() if name in ENVIRONMENT.values()}
    assert found == {"FLAP_SAM_DATA": str(store), "FLAP_SAM_CHECKPOINT": "random"}, "and nothing of the environment's"


@pytest.mark.parametrize("settings", [{"precision": "auto"}, {"name": "A"}, {"pictures": True, "memory": "low"}])
def test_what_no_simulated_site_would_read_is_refused(store, tmp_path, started, settings):
    with pytest.raises(FlapSamError, match=f"site's {', '.join(sorted(settings))} cannot be given .* leave it out"):
        simulate(Experiment(), tmp_path / "work", 2, site=Site(data=store, **settings))
    assert not started
