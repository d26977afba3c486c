"""A child, and what it has started, is gone when its parent is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flap_sam.foundation.children import child

GROUP = "import os, time; os.fork(); open(os.environ['TOLD'] + str(os.getpid()), 'w').close(); time.sleep(300)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + GROUP
PARENT = """
import sys, time
from flap_sam.foundation.children import child, end_on_signals
end_on_signals()
with child([sys.executable, "-c", sys.argv[1]]) as process:
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
    [(signal.SIGTERM, GROUP), (signal.SIGHUP, GROUP), (signal.SIGKILL, GROUP), (signal.SIGKILL, STUBBORN)],
)
def test_a_parent_that_ends_leaves_nobody_behind(tmp_path, number, code):
    told = tmp_path / "told"
    told.mkdir()
    settings = os.environ | {"TOLD": f"{told}/"}
    with subprocess.Popen([sys.executable, "-c", PARENT, code], env=settings) as parent:
        wait_for(lambda: len(list(told.iterdir())) == 2)
        processes = [int(path.name) for path in told.iterdir()]
        assert all(map(lives, processes))
        parent.send_signal(number)
        parent.wait(SECONDS)
        wait_for(lambda: not any(map(lives, processes)))


@pytest.mark.parametrize(("code", "status"), [("pass", 0), ("raise SystemExit(3)", 3), ("import os; os.abort()", 134)])
def test_a_child_that_ends_by_itself_has_its_status(code, status):
    with child([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        assert process.wait() == status
