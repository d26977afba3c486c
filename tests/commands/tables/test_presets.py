# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from flap_sam.commands.tables.presets import preset_text
from flap_sam.config.job import Job
from flap_sam.config.presets import PAPER, changes

JOBS = sorted((Path(__file__).parents[3] / "jobs").glob("flap_sam_*"))


@pytest.mark.parametrize("folder", JOBS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("own", [{}, {"rounds": 3, "backbone": "vit_l"}], ids=str)
def test_every_setting_that_the_preset_changed_is_told_with_its_value(folder, own):
    job = Job.read(folder)
    text = preset_text(job, changes(job, PAPER, own), own)
    told = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    before, after = (dict(one) for one in (job.experiment(), job.experiment(changes(job, PAPER, own))))
    differ = {name for name in after if before[name] != after[name]} - own.keys()
    assert {name: (was, now) for name, was, now in told} == {
        name: (str(before[name]), str(after[name])) for name in differ
    }
    assert "rounds" in differ or own


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("kits", "sites of kits19: 6 (A, B, C, D, E, F)"),
        ("ixi", "sites of ixi: 3 (Guys, HH, IOP)"),
        ("nifti", "The paper has no data set nifti: classes and sites are the job's own."),
    ],
)
def test_the_sites_are_told_and_what_is_not_at_hand(name, told):
    job = Job.read(JOBS[0].parent / f"flap_sam_{name}")
    text = preset_text(job, changes(job, PAPER, {}), {})
    assert told in text
    assert "Not at hand: whether the paper has another rate" in text
