# SPDX-License-Identifier: Apache-2.0
"""What goes down and comes back, as the runbook says: cables, hospitals, the server."""

import json
import time
from pathlib import Path

import pytest
import torch
from flap_sam.records.results import FINAL, PAYLOAD_FILES
from flap_sam.records.round_log import ROUND_LOG
from flap_sam.wire import payload

from tests.deployment.federation import FINISHED, HOSPITALS, SERVER, Federation, copy_of

pytestmark = pytest.mark.slow

MINUTE = 60
GOES_ON = {"min_sites": 2, "round_timeout": 30, "wait_after_min": 5}
RESUMED = {"resume": "latest"}

Tensors = dict[str, torch.Tensor]


def begin(federation: Federation, job: Path) -> str:
    """Submit a job and wait until it is well under way."""
    submitted = federation.submit(job)
    federation.wait_for_round("hospital-c", submitted, 1)
    return submitted


def rounds_of(federation: Federation, job: str) -> list[dict]:
    return [json.loads(line) for line in (federation.download(job) / ROUND_LOG).read_text().splitlines()]


def final_of(federation: Federation, job: str) -> Tensors:
    return payload.read(federation.download(job) / PAYLOAD_FILES[FINAL]).tensors


@pytest.fixture(scope="module")
def unplugged(federation: Federation, lasting_job: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job during which one hospital was off the network for a minute."""
    job = begin(federation, copy_of(lasting_job, tmp_path_factory.mktemp("unplugged") / "job"))
    federation.cable.pull()
    time.sleep(MINUTE)
    federation.cable.plug()
    federation.finish(job)
    return job


def test_a_hospital_that_is_unplugged_for_a_minute_is_waited_for(federation, unplugged):
    assert federation.status(unplugged) == FINISHED
    assert all(list(record["sites"]) == list(HOSPITALS) for record in rounds_of(federation, unplugged))


def test_a_hospital_without_power_is_left_out_and_is_back_for_the_next_job(federation, lasting_job, staged, tmp_path):
    job = begin(federation, copy_of(lasting_job, tmp_path / "job", **GOES_ON))
    federation.stop("hospital-c")
    federation.start("hospital-c")
    assert federation.finish(job) == "FINISHED:ABNORMAL", "FLARE's word for a job that one process left without a word"
    rounds = rounds_of(federation, job)
    assert list(rounds[-1]["sites"]) == ["hospital-a", "hospital-b"]
    assert rounds[-1]["missing"] == ["hospital-c"]
    following = federation.submit(copy_of(staged, tmp_path / "following"))
    assert federation.finish(following) == FINISHED
    assert list(rounds_of(federation, following)[-1]["sites"]) == list(HOSPITALS)


def test_a_job_that_one_process_died_of_is_resumed_to_the_same_bits(federation, lasting_job, unplugged, tmp_path):
    job = begin(federation, copy_of(lasting_job, tmp_path / "job"))
    federation.kill("hospital-c", job)
    assert federation.finish(job) == "FINISHED:EXECUTION_EXCEPTION"
    assert_resumed(federation, copy_of(lasting_job, tmp_path / "resumed", **RESUMED), unplugged)


def test_a_server_that_was_killed_resumes_to_the_same_bits(federation, lasting_job, unplugged, tmp_path):
    job = begin(federation, copy_of(lasting_job, tmp_path / "job"))
    federation.stop(SERVER)
    federation.start(SERVER)
    federation.wait_until_connected(*HOSPITALS)
    assert_resumed(federation, copy_of(lasting_job, tmp_path / "resumed", **RESUMED), unplugged)
    assert federation.status(job) == "RUNNING", "FLARE does not notice; the runbook says to leave it"


def assert_resumed(federation: Federation, job: Path, undisturbed: str) -> None:
    resumed = federation.submit(job)
    assert federation.finish(resumed) == FINISHED
    expected, found = final_of(federation, undisturbed), final_of(federation, resumed)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert len(rounds_of(federation, resumed)) == len(rounds_of(federation, undisturbed))
