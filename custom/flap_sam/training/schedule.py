# SPDX-License-Identifier: Apache-2.0
"""The learning rate over a site's steps (the paper's section 3.2)."""

from flap_sam.config.experiment import Experiment


def learning_rate(experiment: Experiment, step: int, steps_an_epoch: int) -> float:
    """Rate of the step-th update, counted from 0 over all rounds.

    Linear warm-up over `warmup_steps`, then base (1 - s / max)^power with s counted from the end of the
    warm-up and max = `max_epochs` epochs of steps.
    """
    base, warmup = experiment.learning_rate, experiment.warmup_steps
    if step < warmup:
        return base * (step + 1) / warmup
    done = (step - warmup) / (experiment.max_epochs * steps_an_epoch)
    return base * max(0.0, 1 - done) ** experiment.decay_power
