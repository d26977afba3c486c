# SPDX-License-Identifier: Apache-2.0
"""A job as a recipe: the folder that lies in `jobs/`, and the one that is submitted."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.config.job import Job
from flap_sam.config.job_files import ONE_GPU
from flap_sam.config.run_policy import RunPolicy
from flap_sam.deployment.stage import stage
from flap_sam.federation.recipe import FlapSamRecipe
from nvflare.recipe import ProdEnv, SimEnv

FOLDER = Path(__file__).parents[2] / "jobs"
JOBS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
SETTINGS = Experiment(dataset="nifti", rank=5, rounds=3)
POLICY = RunPolicy(min_sites=2, largest_slices={"site-1": 40})


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_job_of_the_project_is_in_its_script() -> None:
    assert JOBS
    assert sorted(runpy.run_path(str(FOLDER / "job.py"))["JOBS"]) == JOBS


@pytest.mark.parametrize("name", JOBS)
def test_the_script_exports_the_folder_that_lies_beside_it(tmp_path: Path, name: str) -> None:
    words = [sys.executable, FOLDER / "job.py", name, "--export", "--export-dir", tmp_path]
    subprocess.run(words, check=True, capture_output=True)
    assert files(tmp_path / name) == files(FOLDER / name)


def test_an_export_says_all_that_the_recipe_was_given(tmp_path: Path) -> None:
    FlapSamRecipe("own", SETTINGS, POLICY, demo="phantom").export(str(tmp_path))
    job = Job.read(tmp_path / "own")
    assert (job.experiment(), job.policy, job.demo) == (SETTINGS, POLICY, "phantom")


@pytest.mark.parametrize("gpus", [ONE_GPU, {"@default": 2, "hospital-a": 4}])
def test_what_is_submitted_is_what_stage_makes(tmp_path: Path, gpus: dict[str, int]) -> None:
    recipe = FlapSamRecipe("own", SETTINGS, POLICY, gpus=gpus)
    recipe.export(str(tmp_path))
    staged = stage(tmp_path / "own", tmp_path / "staged" / "own", {}, gpus)
    recipe.process_env(ProdEnv(startup_kit_location=str(tmp_path)))
    recipe._job.export_job(str(tmp_path / "submitted"))
    submitted = files(tmp_path / "submitted" / "own")
    assert submitted == files(staged.folder)
    assert json.loads(submitted["meta.json"])["scope"] == "flap_sam"
    assert not any(name.startswith("app/custom") for name in submitted)


def test_other_environments_get_the_folder(tmp_path: Path) -> None:
    recipe = FlapSamRecipe("own", SETTINGS, POLICY)
    before = recipe._job
    recipe.process_env(SimEnv(num_clients=2))
    assert recipe._job is before
    recipe.process_env(ProdEnv(startup_kit_location=str(tmp_path)))
    recipe.process_env(SimEnv(num_clients=2))
    assert recipe._job is before, "after a submission too"
