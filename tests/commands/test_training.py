# SPDX-License-Identifier: Apache-2.0
"""The commands that train: what they refuse before any work, and what they print without any."""

import json
from pathlib import Path

import pytest
from flap_sam.commands import main as cli
from flap_sam.commands.tables.options import markdown
from flap_sam.errors import FlapSamError

from tests.commands.test_main import run

JOB = str(Path(__file__).parents[2] / "jobs/flap_sam_nifti")

REFUSED = {
    "a setting that is none": (
        ["train", JOB, "--out", "out", "--setting", "federated"],
        "There is no setting 'federated'; expected local or centralized.",
    ),
    "local without a site": (["train", JOB, "--out", "out", "--setting", "local"], "Name the --site of a local run"),
    "centralized with a site": (
        ["train", JOB, "--out", "out", "--setting", "centralized", "--site", "A"],
        "a centralized run takes all sites",
    ),
    "a preset that is varied": (
        ["compare", JOB, "--preset", "small", "--vary", "rank=4,8"],
        "leave out --vary or --preset",
    ),
    "a comparison of another setting": (["compare", JOB, "--settings", "alone"], "alone"),
    "a change that is none": (["simulate", JOB, "--work", "out", "--sites", "2", "--set", "rank"], "rank"),
    "a backbone that nothing tells": (["params", "--backbone", "auto"], "Nothing says which backbone auto is"),
    "a method that is none": (["params", "--method", "lora"], "method is 'lora'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, capsys, what):
    words, sentence = REFUSED[what]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLAP_SAM_DATA", raising=False)
    code, out, err = run(monkeypatch, capsys, *words)
    assert (code, out, len(err.strip().splitlines())) == (1, "", 1)
    assert sentence in err
    assert not [path for path in tmp_path.iterdir() if path.name != "state"]


def test_options_prints_the_page_as_it_is(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "options") == (0, markdown(), "")


def test_params_counts_what_it_is_asked_for(monkeypatch, capsys):
    words = ["--classes", "1", "--rank", "16", "--image-size", "224", "--json"]
    code, out, _ = run(monkeypatch, capsys, "params", *words)
    found = json.loads(out)
    assert (code, found["trained"]) == (0, 1_162_352 - (1_846_384 - 1_712_488))
    code, out, _ = run(monkeypatch, capsys, "params", "--paper", "--json")
    assert (code, json.loads(out)[0]["label"]) == (0, "FullFT, 1 class")


def test_a_job_is_simulated_with_the_papers_settings(tmp_path, monkeypatch, capsys):
    ran = []

    def simulate(job, *_, **__):
        ran.append(job.experiment())
        raise FlapSamError("It is not run here.")

    monkeypatch.setattr("flap_sam.experiments.simulate.simulate", simulate)
    words = ["simulate", JOB, "--work", str(tmp_path), "--sites", "3"]
    for preset in ([], ["--preset", "paper", "--set", "batch_size=8"]):
        monkeypatch.setattr("sys.argv", ["flap-sam", *words, *preset])
        with pytest.raises(SystemExit):
            cli.main()
    told = capsys.readouterr().out
    assert [(e.backbone, e.batch_size, e.warmup_steps) for e in ran] == [("auto", 4, 10), ("vit_b", 8, 250)]
    assert told.count("What the preset paper changes") == 1
