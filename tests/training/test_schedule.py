# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.training.schedule import learning_rate


def test_warm_up_then_decay_to_nothing():
    experiment = Experiment()
    rates = [learning_rate(experiment, step, steps_an_epoch=10) for step in range(2251)]
    assert rates[0] == pytest.approx(8e-4 / 250)
    assert max(rates) == rates[249] == rates[250] == pytest.approx(8e-4)
    assert all(a < b for a, b in pairwise(rates[:250]))
    assert all(a > b for a, b in pairwise(rates[250:]))
    assert rates[250 + 1000] == pytest.approx(8e-4 * 0.5**7)
    assert rates[2250] == rates[-1] == 0.0


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert learning_rate(Experiment().changed(warmup_steps=0), 0, 10) == 8e-4
