# SPDX-License-Identifier: Apache-2.0
from flap_sam.foundation.progress_bar import bar
from rich.progress import TextColumn


def test_the_time_left_is_known_after_the_first_step_however_long_steps_are():
    now = 0.0
    progress = bar(TextColumn(""))
    progress.get_time = lambda: now
    progress.add_task("", total=4)
    (task,) = progress.tasks
    progress.advance(task.id, 0)
    assert task.time_remaining is None
    now = 600.0
    progress.advance(task.id, 1)
    assert task.time_remaining == 1800
    now = 1000.0
    progress.advance(task.id, 1)
    assert task.time_remaining == 1000
