# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
import torch
from flap_sam.training import progress
from flap_sam.training.progress import LINE_SECONDS, Progress


class Loss:
    """A loss on a device that counts how often one waits for it."""

    read = 0

    def item(self) -> float:
        Loss.read += 1
        return 0.25


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def told(clock, steps: int, seconds_a_step: float) -> list[str]:
    lines, Loss.read = [], 0
    subject = Progress(lines.append, "site-2", 7)
    for done in range(1, steps + 1):
        clock.seconds += seconds_a_step
        subject(done, steps, Loss())
    return lines


def test_a_line_says_which_site_how_far_and_how_long(clock):
    lines = told(clock, steps=100, seconds_a_step=LINE_SECONDS / 10)
    assert len(lines) == 9, "the last step has the server's line"
    assert lines[0] == "round   7  site-2        step 10 of 100  loss 0.2500  0:01:30 left"
    assert "step 90 of 100" in lines[-1]
    assert Loss.read == len(lines), "the device is not asked for a loss that nobody sees"


def test_a_slow_step_has_one_line_and_a_short_round_none(clock):
    assert len(told(clock, steps=4, seconds_a_step=3 * LINE_SECONDS)) == 3
    assert told(clock, steps=9, seconds_a_step=LINE_SECONDS / 10) == []


def test_a_tensor_is_a_loss(clock):
    lines = []
    subject = Progress(lines.append, "A", 0)
    clock.seconds += LINE_SECONDS
    subject(1, 2, torch.tensor(0.5))
    assert "loss 0.5000" in lines[0]
