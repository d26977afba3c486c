# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from flap_sam.commands import main as cli
from flap_sam.config.job import Job
from flap_sam.config.paper import settings_for

JOBS = sorted((Path(__file__).parents[2] / "jobs").glob("flap_sam_*"))


@pytest.mark.parametrize("folder", JOBS, ids=lambda folder: folder.name)
def test_a_job_is_staged_with_the_papers_settings(folder, tmp_path, monkeypatch, capsys):
    words = ["stage", str(folder), "--out", str(tmp_path / "out"), "--preset", "paper", "--set", "rounds=7"]
    monkeypatch.setattr("sys.argv", ["flap-sam", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    staged, told = Job.read(tmp_path / "out").experiment(), capsys.readouterr().out
    paper = settings_for(staged.dataset) | {"rounds": 7}
    assert {name: getattr(staged, name) for name in paper} == paper
    assert told.index("What the preset paper changes") < told.index("What it runs") < told.index(staged.digest())
