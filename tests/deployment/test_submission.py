# SPDX-License-Identifier: Apache-2.0
"""The staged job on running kits, submitted in every way that people submit jobs."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from flap_sam.config.job import Job
from flap_sam.federation.recipe import FlapSamRecipe
from flap_sam.records.results import FINAL, PAYLOAD_FILES
from flap_sam.wire import payload
from nvflare.recipe import ProdEnv

from tests.deployment.federation import FINISHED, HOSPITALS, LEAD, Federation, copy_of, run
from tests.integration.test_simulator import results_of, simulate
from tests.integration.test_simulator import staged as simulated

pytestmark = pytest.mark.slow

JOB_ID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def test_the_kits_give_what_the_simulator_gives(federation: Federation, staged, tmp_path):
    """Three jobs, submitted by the recipe, `nvflare job submit` and the console: to the simulator's bits."""
    submitted = [
        by_recipe(federation, staged),
        by_command(federation, copy_of(staged, tmp_path / "command")),
        by_console(federation, copy_of(staged, tmp_path / "console")),
    ]
    settings = json.loads((staged / "app/config/config_fed_server.json").read_text())["experiment"]
    job = simulated("flap_sam_nifti", tmp_path, **settings)
    own = {"FLAP_SAM_DATA": str(federation.store), "FLAP_SAM_CHECKPOINT": "random"}  # as the hospitals have it
    there = simulate(job, tmp_path / "work", 3, 3, **own)
    assert there.returncode == 0, there.stdout + there.stderr
    file = payload.read(results_of(tmp_path / "work") / PAYLOAD_FILES[FINAL])
    expected, experiment = file.tensors, file.experiment
    for job_id in submitted:
        assert federation.finish(job_id) == FINISHED
        file = payload.read(federation.download(job_id) / PAYLOAD_FILES[FINAL])
        found, same = file.tensors, file.experiment
        assert same == experiment
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    for hospital in HOSPITALS:
        for job_id in submitted:
            released = [line["task"] for line in federation.releases(hospital) if line["job"] == job_id]
            assert released == ["train", "train", "evaluate"]


def by_recipe(federation: Federation, staged: Path) -> str:
    job, kit = Job.read(staged), str(federation.kits / LEAD)
    recipe = FlapSamRecipe("recipe", job.experiment(), job.policy)
    return recipe.run(ProdEnv(startup_kit_location=kit, username=LEAD, login_timeout=60.0)).get_job_id()


def by_command(federation: Federation, job) -> str:
    kit = federation.kits / LEAD
    done = run("nvflare", "job", "submit", "-j", job, "--startup-kit", kit, env=federation.environment(LEAD))
    return re.search(JOB_ID, done.stdout)[0]


def by_console(federation: Federation, job) -> str:
    """The admin console's own program, spoken to as a person speaks to it."""
    done = subprocess.run(
        ["bash", str(federation.kits / LEAD / "startup/fl_admin.sh")],
        input=f"{LEAD}\nsubmit_job {job}\nbye\n",
        env=federation.environment(LEAD),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return re.search(f"Submitted job: ({JOB_ID})", done.stdout)[1]
