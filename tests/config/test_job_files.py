# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.config.job import CLIENT_CONFIG, SERVER_CONFIG, Job
from flap_sam.config.job_files import META, SCOPE, STUB, TENSORBOARD, write
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError


def test_a_written_job_says_what_it_was_made_of(tmp_path):
    experiment = Experiment(rank=4, ranks={"site-2": 2}, alpha=0.5)
    policy = RunPolicy(min_sites=2, largest_slices={"site-1": 7}, resume="latest")
    job = write(tmp_path / "mine", experiment, policy)
    assert (job.experiment(), job.policy, job.demo) == (experiment, policy, None)
    assert Job.read(tmp_path / "mine") == job


@pytest.mark.parametrize("demo", [None, "phantom"])
@pytest.mark.parametrize("components", [[], [TENSORBOARD]])
def test_a_written_job_has_the_demo_and_the_components_that_it_was_given(tmp_path, demo, components):
    job = write(tmp_path / "mine", Experiment(), RunPolicy(), demo=demo, components=components)
    assert job.demo == demo
    assert job.components == [component["path"] for component in components]


def test_a_job_to_submit_has_a_scope_and_no_place_for_code(tmp_path):
    here = write(tmp_path / "here" / "mine", Experiment(), RunPolicy()).folder
    there = write(tmp_path / "there" / "mine", Experiment(), RunPolicy(), submitted=True).folder
    asks = {"scope": SCOPE, "resource_spec": {"@default": {"num_of_gpus": 1}}}
    assert json.loads((there / META).read_text()) == json.loads((here / META).read_text()) | asks
    assert (here / STUB).exists()
    assert not (there / STUB).parent.exists()
    for path in (SERVER_CONFIG, CLIENT_CONFIG):
        assert (there / path).read_bytes() == (here / path).read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FlapSamError, match="file"):
        write(tmp_path / "file" / "job", Experiment(), RunPolicy())
