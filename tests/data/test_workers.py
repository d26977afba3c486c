# SPDX-License-Identifier: Apache-2.0
import os
import time
from functools import partial
from pathlib import Path

import pytest
from flap_sam.data.workers import Workers, in_turn
from flap_sam.errors import FlapSamError, Reason


def square(number: int) -> int:
    return number**2


def note(folder: Path, number: int) -> int:
    """Item 1 fails at once; the others take a moment and leave a file."""
    if number == 1:
        raise FlapSamError("item 1 is broken", Reason.STORE)
    time.sleep(0.2)
    (folder / str(number)).touch()
    return os.getpid()


def die(status: int) -> None:
    os._exit(status)


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_order_and_each_is_counted(count):
    done = []
    with Workers(count) as crew:
        assert crew.each(square, [3, 1, 2], done=lambda: done.append(1)) == in_turn(square, [3, 1, 2]) == [9, 1, 4]
        assert len(done) == 3
        assert crew.each(square, []) == []


def test_one_item_or_one_worker_needs_no_process(tmp_path):
    with Workers(4) as crew:
        assert crew.each(partial(note, tmp_path), [2]) == [os.getpid()]
    with Workers(1) as crew:
        assert crew.each(partial(note, tmp_path), [2, 3]) == [os.getpid()] * 2


def test_after_a_failure_nothing_is_begun_and_what_runs_ends(tmp_path):
    with pytest.raises(FlapSamError, match="item 1 is broken") as caught, Workers(2) as crew:
        crew.each(partial(note, tmp_path), [0, 1, *range(2, 40)])
    assert caught.value.reason == Reason.STORE
    finished = {int(path.name) for path in tmp_path.iterdir()}
    assert 0 in finished
    assert len(finished) < 10


def test_a_killed_worker_is_told():
    with pytest.raises(FlapSamError, match="worker process was killed"), Workers(2) as crew:
        crew.each(die, [1, 2])


def test_no_workers():
    with pytest.raises(FlapSamError, match="0 workers were asked for, expected at least 1"):
        Workers(0)
