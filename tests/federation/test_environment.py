# SPDX-License-Identifier: Apache-2.0
from functools import partial
from pathlib import Path
from shutil import copytree

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.federation.configured_job import ConfiguredJob
from flap_sam.federation.environment import simulate

JOB = Path(__file__).parents[2] / "jobs/flap_sam_kits"


def test_an_environment_gets_the_folder_as_it_is(tmp_path):
    ConfiguredJob(JOB.name, partial(copytree, JOB)).export_job(str(tmp_path))
    files = [path.relative_to(JOB) for path in JOB.rglob("*") if path.is_file()]
    assert files
    assert all((tmp_path / JOB.name / file).read_bytes() == (JOB / file).read_bytes() for file in files)


@pytest.mark.parametrize("name", ["two words", "a#b", "it's", "a\\b"])
def test_a_workspace_that_breaks_the_commands_of_flare_is_refused(tmp_path, name):
    with pytest.raises(FlapSamError, match="cannot simulate in"):
        simulate(JOB, tmp_path / name, 2, 2)
    assert not (tmp_path / name).exists()


def test_a_job_whose_name_flare_does_not_take_is_refused(tmp_path):
    with pytest.raises(FlapSamError, match="may contain only letters"):
        simulate(tmp_path / "_job", tmp_path / "work", 2, 2)
