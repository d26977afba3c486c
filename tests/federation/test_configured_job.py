# SPDX-License-Identifier: Apache-2.0
"""How FLARE's simulator is started on a job that is configuration already."""

import os
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shutil import copytree

import pytest
from flap_sam.federation import configured_job
from flap_sam.federation.configured_job import SIMULATOR, ConfiguredJob

JOB = Path(__file__).parents[2] / "jobs/flap_sam_kits"
LAY = partial(copytree, JOB)


@pytest.fixture
def started(monkeypatch) -> list[tuple[list[str], dict[str, str]]]:
    """The words and the environments of what would be started."""
    seen = []

    class Ended:
        def wait(self) -> int:
            return 0

    @contextmanager
    def child(words, clears, env, pass_fds):  # noqa: ARG001, as it is called
        assert Path(words[3]).is_dir(), "the job lies where the simulator is told"
        assert all(folder.is_dir() for folder in clears)
        seen.append((words, env))
        yield Ended()

    monkeypatch.setattr(configured_job, "child", child)
    return seen


@pytest.mark.parametrize("variables", [None, {"HOME": "/nowhere"}], ids=["this process's environment", "another"])
def test_the_simulator_gets_its_words_and_the_environment(tmp_path, started, variables):
    job = ConfiguredJob(JOB.name, LAY, variables=variables)
    assert job.simulator_run(str(tmp_path), n_clients=20, threads=3) == 0
    [(words, found)] = started
    assert words[:3] == [sys.executable, "-m", SIMULATOR]
    assert (words[words.index("-t") + 1], words[words.index("-n") + 1]) == ("3", "20")
    assert found == (variables or dict(os.environ))


@pytest.mark.parametrize("config", [None, "concise"])
def test_a_log_configuration_is_told_where_there_is_one(tmp_path, started, config):
    ConfiguredJob(JOB.name, LAY).simulator_run(str(tmp_path), n_clients=2, log_config=config)
    [(words, _)] = started
    assert words[words.index("-l") + 1 :] == [config] if config else "-l" not in words
