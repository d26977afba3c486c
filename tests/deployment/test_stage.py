# SPDX-License-Identifier: Apache-2.0
"""What is submitted: configuration of our classes, in the sites' privacy scope."""

import json
import os
import shutil
from pathlib import Path

import pytest
from flap_sam.config.job import CLIENT_CONFIG, SERVER_CONFIG, Job
from flap_sam.config.job_files import SCOPE
from flap_sam.deployment.stage import gpus_asked, stage
from flap_sam.errors import FlapSamError

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return shutil.copytree(JOBS / "flap_sam_nifti", tmp_path / "job")


@pytest.mark.parametrize("name", ["flap_sam_kits", "flap_sam_nifti"])
def test_every_job_of_the_project_can_be_submitted(name, tmp_path):
    staged = stage(JOBS / name, tmp_path / "out", {"rank": 8, "rounds": 3})
    assert staged.classes["sites"] == ["flap_sam.federation.executor.FlapSamExecutor"]
    assert "flap_sam.federation.controller.FlapSamController" in staged.classes["server"]
    assert Job.read(staged.folder).experiment() == staged.experiment
    assert (staged.experiment.rank, staged.experiment.rounds) == (8, 3)
    assert json.loads((staged.folder / "meta.json").read_text())["scope"] == SCOPE
    files = {str(p.relative_to(staged.folder)) for p in staged.folder.rglob("*") if p.is_file()}
    assert files == {"meta.json", str(SERVER_CONFIG), str(CLIENT_CONFIG)}


def test_code_is_refused(job, tmp_path):
    (job / "app/custom/anything.py").write_text("print()")
    with pytest.raises(FlapSamError, match=r"anything\.py is not configuration"):
        stage(job, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", ["app/config/deep", "app/other", "app_b"])
def test_what_is_no_file_and_no_folder_of_a_job_is_refused(job, tmp_path, make, name):
    make(job / name)
    with pytest.raises(FlapSamError, match=f"{name} is not configuration"):
        stage(job, tmp_path / "out", {})


def test_links_are_refused(job, tmp_path):
    (job / "app/config/notes.json").symlink_to("/etc/hostname")
    with pytest.raises(FlapSamError, match=r"notes\.json is a link"):
        stage(job, tmp_path / "out", {})


@pytest.mark.parametrize("key", ["launcher_spec", "stats_pool_config", "job_id", "byoc", "custom_props"])
def test_a_description_that_the_sites_refuse_is_refused(job, tmp_path, key):
    path = job / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: {}}))
    with pytest.raises(FlapSamError, match=rf"meta\.json has {key}"):
        stage(job, tmp_path / "out", {})
    path.write_text("[]")
    with pytest.raises(FlapSamError, match="no names and values"):
        stage(job, tmp_path / "out", {})


@pytest.mark.parametrize("key", ["path", "class_path"])
def test_classes_of_others_are_refused(job, tmp_path, key):
    config = json.loads((job / CLIENT_CONFIG).read_text())
    config["components"] = [{"id": "x", key: "os.system"}]
    (job / CLIENT_CONFIG).write_text(json.dumps(config))
    with pytest.raises(FlapSamError, match=r"names os\.system"):
        stage(job, tmp_path / "out", {})


def test_what_is_there_is_not_overwritten(job):
    with pytest.raises(FlapSamError, match="is there already"):
        stage(job, job, {})


def test_settings_are_checked_before_anything_is_written(job, tmp_path):
    with pytest.raises(FlapSamError, match="rank is 0"):
        stage(job, tmp_path / "out", {"rank": 0})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("texts", "asked"),
    [
        ([], {"@default": 1}),
        (["2"], {"@default": 2}),
        (["hospital-a=4"], {"@default": 1, "hospital-a": 4}),
        (["2", "hospital-a=4", "hospital-b=1"], {"@default": 2, "hospital-a": 4, "hospital-b": 1}),
    ],
)
def test_a_staged_job_asks_every_site_for_gpus(job, tmp_path, texts, asked):
    staged = stage(job, tmp_path / "out", {}, gpus_asked(texts))
    spec = json.loads((staged.folder / "meta.json").read_text())["resource_spec"]
    assert spec == {site: {"num_of_gpus": number} for site, number in asked.items()}


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "hospital-a=", "hospital-a=0", "hospital-a=x", "1.5", "1000"])
def test_what_is_no_number_of_gpus_is_refused(text):
    with pytest.raises(FlapSamError, match="expected a number from 1, or site=number"):
        gpus_asked([text])


def test_a_job_that_asks_for_resources_itself_is_refused(job, tmp_path):
    path = job / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"resource_spec": {"site-1": {"num_of_gpus": 1}}}))
    with pytest.raises(FlapSamError, match="has a resource_spec; empty it, and name its GPUs with --gpus"):
        stage(job, tmp_path / "out", {})
