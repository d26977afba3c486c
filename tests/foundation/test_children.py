# SPDX-License-Identifier: Apache-2.0
"""A child, and what it has started, is gone when its parent is."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from flap_sam.foundation.children import ENDING, Interrupted, child, interruptible

GROUP = """
import os, tempfile, time
os.fork()
tempfile.mkstemp()
open(os.environ["TOLD"] + str(os.getpid()), "w").close()
time.sleep(300)
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + GROUP
PARENT = """
import sys, time
from pathlib import Path
from flap_sam.foundation.children import child, interruptible
with interruptible(), child([sys.executable, "-c", sys.argv[1]], [Path(sys.argv[2])]) as process:
    process.wait()
"""
SECONDS = 60


def wait_for(what) -> None:
    until = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "code"),
    [
        *((number, GROUP) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)),
        (signal.SIGKILL, STUBBORN),
    ],
)
def test_a_parent_that_ends_leaves_nobody_and_nothing_behind(tmp_path, number, code):
    told, temporary, own = (tmp_path / name for name in ("told", "temporary", "own"))
    for folder in (told, temporary, own):
        folder.mkdir()
    settings = os.environ | {"TOLD": f"{told}/", "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", PARENT, code, str(own)], env=settings) as parent:
        wait_for(lambda: len(list(told.iterdir())) == 2)
        processes = [int(path.name) for path in told.iterdir()]
        assert all(map(lives, processes))
        assert len(list(temporary.glob("flap-*/*"))) == 2
        parent.send_signal(number)
        status = parent.wait(SECONDS)
        wait_for(lambda: not any(map(lives, processes)))
        wait_for(lambda: not list(temporary.iterdir()))
    assert status == (-number if number == signal.SIGKILL else 128 + number)
    wait_for(lambda: own.exists() == (number != signal.SIGKILL))  # a parent that lives removes its own


def test_a_guardian_that_is_killed_leaves_nobody_and_nothing_behind(tmp_path):
    told, temporary = tmp_path / "told", tmp_path / "temporary"
    told.mkdir()
    temporary.mkdir()
    settings = os.environ | {"TOLD": f"{told}/", "TMPDIR": str(temporary)}
    tempfile.tempdir = str(temporary)
    try:
        with child([sys.executable, "-c", GROUP], env=settings) as guardian:
            wait_for(lambda: len(list(told.iterdir())) == 2)
            guardian.kill()
            guardian.wait()
    finally:
        tempfile.tempdir = None
    wait_for(lambda: not any(lives(int(path.name)) for path in told.iterdir()))
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(("code", "status"), [("pass", 0), ("raise SystemExit(3)", 3), ("import os; os.abort()", 134)])
def test_a_child_that_ends_by_itself_has_its_status(code, status):
    with child([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        assert process.wait() == status


def test_handlers_are_as_before_after_the_block_and_an_ignored_signal_stays_ignored():
    own = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        before = {number: signal.getsignal(number) for number in ENDING}
        with interruptible():
            changed = {number for number in ENDING if signal.getsignal(number) != before[number]}
        assert changed == {signal.SIGINT, signal.SIGTERM}
        assert before == {number: signal.getsignal(number) for number in ENDING}
    finally:
        signal.signal(signal.SIGHUP, own)


def interrupted_twice(number: int) -> None:
    with interruptible():
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", ENDING)
def test_an_interruption_is_named_and_told_once(number):
    with pytest.raises(Interrupted) as told:
        interrupted_twice(number)
    assert (told.value.name, told.value.code) == (number.name, 128 + number)
