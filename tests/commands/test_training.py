# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from flap_sam.commands import main as cli
from flap_sam.errors import FlapSamError

JOB = Path(__file__).parents[2] / "jobs/flap_sam_ixi"


def test_a_job_is_simulated_with_the_papers_settings(tmp_path, monkeypatch, capsys):
    ran = []

    def simulate(job, *_, **__):
        ran.append(job.experiment())
        raise FlapSamError("It is not run here.")

    monkeypatch.setattr("flap_sam.experiments.simulate.simulate", simulate)
    words = ["simulate", str(JOB), "--work", str(tmp_path), "--sites", "3"]
    for preset in ([], ["--preset", "paper", "--set", "batch_size=8"]):
        monkeypatch.setattr("sys.argv", ["flap-sam", *words, *preset])
        with pytest.raises(SystemExit):
            cli.main()
    told = capsys.readouterr().out
    assert [(e.backbone, e.batch_size, e.warmup_steps) for e in ran] == [("auto", 4, 10), ("vit_b", 8, 250)]
    assert told.count("What the preset paper changes") == 1
