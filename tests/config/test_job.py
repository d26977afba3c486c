# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from shutil import copytree

import pytest
from flap_sam.config.job import CLIENT_CONFIG, SERVER_CONFIG, Job, named, parsed, values_of
from flap_sam.errors import FlapSamError

JOBS = Path(__file__).parents[2] / "jobs"
FOLDERS = sorted(path for path in JOBS.iterdir() if path.is_dir())
DEMOS = {
    "flap_sam_ixi": "phantom-head",
    "flap_sam_kits": "phantom",
    "flap_sam_nifti": "phantom",
    "flap_sam_prostate": "phantom-pelvis",
}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_every_job_of_the_project_says_what_it_trains(folder):
    job = Job.read(folder)
    assert job.experiment().to_json()
    assert job.demo == DEMOS[folder.name]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_the_jobs_differ_in_their_data_alone(folder):
    """Every file of a job is the main job's, but for the job's name, its data set, its classes and its demo."""
    main = JOBS / "flap_sam_kits"
    own = {"name": folder.name, "dataset": Job.read(folder).settings["dataset"], "demo": DEMOS[folder.name]}
    others = {"name": main.name, "dataset": "kits19", "demo": DEMOS[main.name]}
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(main) for path in main.rglob("*") if path.is_file())
    for file in files:
        text = (folder / file).read_text()
        for name, value in own.items():
            text = text.replace(f'"{name}": "{value}"', f'"{name}": "{others[name]}"')
        assert text.replace('"classes": 1', '"classes": 2') == (main / file).read_text()


def test_a_copy_differs_in_what_was_changed(tmp_path):
    job = Job.read(JOBS / "flap_sam_nifti")
    copy = Job.read(job.copy(tmp_path / "copy", {"rank": 3, "ranks": {"site-1": 2}}))
    assert copy.settings == job.settings | {"rank": 3, "ranks": {"site-1": 2}}
    whole = json.loads((copy.folder / SERVER_CONFIG).read_text())
    assert whole["run_policy"] == json.loads((job.folder / SERVER_CONFIG).read_text())["run_policy"]


def test_nothing_is_copied_with_a_bad_setting(tmp_path):
    with pytest.raises(FlapSamError, match="rank is 0"):
        Job.read(JOBS / "flap_sam_nifti").copy(tmp_path / "copy", {"rank": 0})
    assert not (tmp_path / "copy").exists()


def test_what_is_no_job_is_named(tmp_path):
    with pytest.raises(FlapSamError, match="point to the folder of a job"):
        Job.read(tmp_path)


def test_settings_from_words():
    assert parsed(["rank=4", "method=pdecft", "image_size=null", 'ranks={"site-1": 2}']) == {
        "rank": 4,
        "method": "pdecft",
        "image_size": None,
        "ranks": {"site-1": 2},
    }
    assert values_of("1,svd,0.5") == [1, "svd", 0.5]
    for text in ("rank", "=4"):
        with pytest.raises(FlapSamError, match="expected name=value"):
            named([text])


@pytest.mark.parametrize("text", ["5", "null", '"server"', "[]", "true"])
@pytest.mark.parametrize("name", [SERVER_CONFIG, CLIENT_CONFIG])
def test_a_job_file_that_holds_no_object_is_refused(tmp_path, name, text):
    folder = copytree(JOBS / "flap_sam_nifti", tmp_path / "job")
    (folder / name).write_text(text)
    with pytest.raises(FlapSamError, match="expected an object of named settings"):
        Job.read(folder)
