# SPDX-License-Identifier: Apache-2.0
"""What is said beside tensors and round number, by the names on the wire."""

import dataclasses

import pytest
from flap_sam.wire.exchange import Answer, Task
from flap_sam.wire.messages import EXPERIMENT, REPORT, RUN, SPOKEN, TASK_TRAIN, VERSION

TASK = Task(TASK_TRAIN, "{experiment}", "run-1", 3, 9, {})
ANSWER = Answer(3, {}, {"loss": 0.5})


def test_a_task_and_an_answer_say_their_version_and_nothing_else_beside():
    assert TASK.entries == {EXPERIMENT: "{experiment}", RUN: "run-1", VERSION: SPOKEN}
    assert ANSWER.entries == {REPORT: {"loss": 0.5}, VERSION: SPOKEN}


@pytest.mark.parametrize("message", [TASK, ANSWER])
def test_the_version_is_the_senders_word_whatever_it_is(message):
    """An answer is checked after it came, so that a wrong version is told and not lost."""
    for version in (None, "2", 99, SPOKEN):
        assert dataclasses.replace(message, version=version).entries[VERSION] == version


@pytest.mark.parametrize("message", [TASK, ANSWER])
def test_nobody_changes_a_message_on_its_way(message):
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.round = 4
