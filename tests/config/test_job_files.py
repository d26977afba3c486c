# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.config.job import CLIENT_CONFIG, SERVER_CONFIG, Job
from flap_sam.config.job_files import META, STUB, write
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError

JOBS = Path(__file__).parents[2] / "jobs"
TENSORBOARD = "nvflare.app_opt.tracking.tb.tb_receiver.TBAnalyticsReceiver"


def test_a_written_job_says_what_it_was_made_of(tmp_path):
    experiment = Experiment(rank=4, ranks={"site-2": 2}, alpha=0.5)
    policy = RunPolicy(min_sites=2, largest_slices={"site-1": 7}, resume="latest")
    job = write(tmp_path / "mine", experiment, policy)
    assert (job.experiment(), job.policy, job.demo) == (experiment, policy, None)
    assert Job.read(tmp_path / "mine") == job


def test_a_written_job_is_the_repositorys_but_for_the_receiver_of_tensorboard(tmp_path):
    ours = Job.read(JOBS / "flap_sam_nifti")
    made = write(tmp_path / "flap_sam_nifti", ours.experiment(), ours.policy)
    files = {path.relative_to(made.folder) for path in made.folder.rglob("*") if path.is_file()}
    assert files == {path.relative_to(ours.folder) for path in ours.folder.rglob("*") if path.is_file()}
    server, theirs = (json.loads((job.folder / SERVER_CONFIG).read_text()) for job in (made, ours))
    assert [component["path"] for component in theirs.pop("components")] == [TENSORBOARD]
    assert server.pop("components") == []
    for part in ("experiment", "run_policy"):
        assert {name: server[part][name] for name in theirs[part]} == theirs.pop(part), part
        del server[part]
    assert server == theirs
    for path in (CLIENT_CONFIG, META):
        assert json.loads((made.folder / path).read_text()) == json.loads((ours.folder / path).read_text())
    assert (made.folder / STUB).read_text() == (ours.folder / STUB).read_text()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FlapSamError, match="file"):
        write(tmp_path / "file" / "job", Experiment(), RunPolicy())
