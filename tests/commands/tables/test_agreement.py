# SPDX-License-Identifier: Apache-2.0
"""What a hospital agrees to, as text: every setting of every experiment, every limit."""

import re

import pytest
from flap_sam.commands.tables.agreement import experiments_table, limits_table
from flap_sam.config.experiment import Experiment
from flap_sam.foundation.text import as_text
from flap_sam.gate.agreement import Agreement, Privacy

NOISE = Privacy(clip=1.0, noise_multiplier=2.0, epsilon=8.0, delta=1e-5, slices=100)
COUNTS = {"largest_update": 2.5, "largest_payload": 30.0, "runs": 4, "repeats": 5, "evaluations": 6}


def rows(text: str) -> dict[str, list[str]]:
    """The cells behind the first one of each line."""
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]
    return {first: rest for first, *rest in cells if first}


@pytest.mark.parametrize("experiments", [[Experiment(rank=4)], [Experiment(rank=r, seed=r) for r in (1, 2, 3)]])
def test_every_setting_of_every_experiment_stands_under_its_digest(experiments):
    text = as_text(experiments_table("Title", experiments))
    assert re.findall("[0-9a-f]{12}", text) == [experiment.digest()[:12] for experiment in experiments]
    expected = {n: [str(getattr(e, n)) for e in experiments] for n in Experiment.model_fields}
    assert rows(text) == expected


@pytest.mark.parametrize("privacy", [None, NOISE])
def test_every_limit_of_an_agreement_is_told(privacy):
    metrics = () if privacy else ("loss", "test")
    agreement = Agreement(experiments=(Experiment(),), metrics=metrics, privacy=privacy, **COUNTS)
    found = rows(as_text(limits_table(agreement)))
    assert found.keys() == Agreement.model_fields.keys() - {"experiments"}
    assert found["metrics"] == [", ".join(metrics)]
    assert {name: float(found[name][0]) for name in COUNTS} == COUNTS
    assert ("epsilon=8.0" in found["privacy"][0]) == (privacy is not None)
