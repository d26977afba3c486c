# SPDX-License-Identifier: Apache-2.0
"""A preset takes the place of a job's settings, and those that are named beside it take its place."""

from pathlib import Path

import pytest
from flap_sam.config.experiment import METHODS
from flap_sam.config.job import Job
from flap_sam.config.paper import settings_for
from flap_sam.config.presets import PAPER, changes
from flap_sam.errors import FlapSamError

JOBS = sorted((Path(__file__).parents[2] / "jobs").glob("flap_sam_*"))


@pytest.fixture(params=JOBS, ids=lambda folder: folder.name)
def job(request) -> Job:
    return Job.read(request.param)


def test_without_a_preset_the_own_settings_are_all(job):
    assert changes(job, None, {"rounds": 3}) == {"rounds": 3}


def test_every_setting_becomes_the_papers_but_those_of_the_job(job):
    found, paper = job.experiment(changes(job, PAPER, {})), settings_for(job.settings["dataset"])
    assert {name: getattr(found, name) for name in paper} == paper
    assert found.dataset == job.settings["dataset"]


@pytest.mark.parametrize("method", METHODS)
def test_own_settings_go_before_and_leave_nothing_unread(job, method):
    found = job.experiment(changes(job, PAPER, {"method": method, "rounds": 3}))
    assert (found.method, found.rounds, found.batch_size) == (method, 3, 32)


def test_an_own_setting_that_nothing_reads_is_still_refused(job):
    with pytest.raises(FlapSamError, match="rank 8 needs method"):
        job.experiment(changes(job, PAPER, {"method": "pdecft", "rank": 8}))


def test_the_data_set_may_be_named_beside_it(job):
    found = changes(job, PAPER, {"dataset": "prostate"})
    assert (found["dataset"], found["classes"]) == ("prostate", 1)


def test_another_preset_is_refused(job):
    with pytest.raises(FlapSamError, match="no preset 'small' of a job; expected paper"):
        changes(job, "small", {})
