# SPDX-License-Identifier: Apache-2.0
"""The paper's settings and figures: each value as the design page and the published code have it."""

from pathlib import Path

import pytest
from flap_sam.config.experiment import DEFAULTS, METHODS, Experiment
from flap_sam.config.job import Job
from flap_sam.config.paper import DATA_SETS, FIGURE_1, JOBS_OWN, PAPER, SETTINGS, departures, settings_for
from hypothesis import given
from hypothesis import strategies as st

JOBS = sorted((Path(__file__).parents[2] / "jobs").glob("flap_sam_*"))
VARIED = [{"method": method} for method in METHODS] + [{"rank": 4}, {"adapter": "dora"}, {"adapter": "mole"}]


def test_the_settings_are_the_papers():
    said = {"backbone": "vit_b", "image_size": 224, "rank": 32, "alpha": 1.0, "rounds": 100, "local_epochs": 1}
    said |= {"batch_size": 32, "learning_rate": 8e-4, "weight_decay": 0.1, "warmup_steps": 250, "max_epochs": 200}
    said |= {"decay_power": 7.0, "augmentation": "paper", "strategy": "svd", "split": "paper", "prompt_grid": 0}
    said |= {"method": "flap_sam", "adapter": "lora", "normalisation": "window", "payload_dtype": "float32"}
    assert {name: SETTINGS[name] for name in said} == said
    others = SETTINGS.keys() - said.keys()
    assert {name: SETTINGS[name] for name in others} == {name: DEFAULTS[name] for name in others}, "none of ours"
    assert SETTINGS.keys() == DEFAULTS.keys() - {*JOBS_OWN}


@pytest.mark.parametrize(("dataset", "classes", "sites"), [("kits19", 2, 6), ("ixi", 1, 3), ("prostate", 1, 6)])
def test_a_data_set_of_the_paper_has_its_classes_and_sites(dataset, classes, sites):
    assert settings_for(dataset) == SETTINGS | {"classes": classes}
    assert len(DATA_SETS[dataset].sites) == sites
    assert settings_for("my own") == SETTINGS


@pytest.mark.parametrize("folder", JOBS, ids=lambda folder: folder.name)
def test_every_job_of_the_project_becomes_the_papers(folder):
    job = Job.read(folder)
    assert departures(job.settings, {}), "it is small as it is"
    assert departures(dict(job.experiment(settings_for(job.settings["dataset"]))), {}) == {}


@pytest.mark.parametrize("varied", VARIED, ids=str)
def test_what_is_varied_is_no_departure(varied):
    experiment = Experiment.from_dict({"classes": 2, **SETTINGS}).changed(**varied)
    assert departures(dict(experiment), varied) == {}
    changed = dict(experiment.changed(rounds=3, normalisation="volume"))
    assert departures(changed, varied) == {"rounds": (3, 100), "normalisation": ("volume", "window")}


@given(st.dictionaries(st.sampled_from(["rounds", "batch_size", "seed"]), st.integers(1, 300)))
def test_a_departure_is_what_is_not_the_papers(changes):
    experiment = Experiment.from_dict({"classes": 2, **SETTINGS, **changes})
    paper = {"rounds": 100, "batch_size": 32}
    expected = {name: (value, paper[name]) for name, value in changes.items() if value != paper.get(name, value)}
    assert departures(dict(experiment), {}) == expected


def test_the_figures_are_those_of_figure_1():
    """In percent: Dice, collaborative gain, reduction of traffic."""
    told = {row.label: (row.dice, row.gain, row.reduction) for row in PAPER if row.reduction}
    assert FIGURE_1 == "kits19"
    assert told == {
        "AttnFT": (None, 0.0886, 2.8),
        "DecFT": (0.507, 0.0855, 23.2),
        "PDecFT": (0.454, 0.0772, 187.4),
        "LoRAFT": (0.369, None, 66.1),
        "LoRADecFT (SAMed)": (0.598, 0.0934, 17.2),
        "FLAP-SAM": (0.605, 0.0977, 48.9),
    }
    assert all(row.dice is row.gain is None for row in PAPER if not row.reduction)
