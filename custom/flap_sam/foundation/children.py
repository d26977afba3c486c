"""Processes that end with the one that started them, however that ends.

A child is started by a guardian, which leads a session of its own. Linux tells the guardian when its parent is gone,
and it ends all that is left of the session: a child's own children are often left behind by it.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
ENDING = (signal.SIGTERM, signal.SIGHUP)
SECONDS_TO_END = 10
CHECK_SECONDS = 0.05


@contextmanager
def child(command: Sequence[str], **how) -> Iterator[subprocess.Popen]:
    """A process that is ended, with its session, at the end of the block or with the thread that is in it.

    Args:
        how: as `subprocess.Popen` takes it.
    """
    words = [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]
    process = subprocess.Popen(words, start_new_session=True, **how)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def end_on_signals() -> None:
    """Leave by way of every `finally` when this process is told to end, or its terminal is closed."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _leave)


def _leave(number: int, _frame: object) -> None:
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def _guard(parent: int, command: Sequence[str]) -> int:
    """Run a command to its end, or to that of the parent; its status."""
    signal.signal(signal.SIGTERM, _leave)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has ended before it could be watched
        return 1
    process = subprocess.Popen(command, close_fds=False)
    try:
        status = process.wait()
        return status if status >= 0 else 128 - status
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_session(process)


def _end_session(process: subprocess.Popen) -> None:
    os.killpg(0, signal.SIGTERM)
    until = time.monotonic() + SECONDS_TO_END
    while (process.poll() is None or _others()) and time.monotonic() < until:
        time.sleep(CHECK_SECONDS)
    if _others():
        os.killpg(0, signal.SIGKILL)


def _others() -> bool:
    """Whether another process of the session's group is left."""
    mine = os.getpgrp()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                state, _, group = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
                if int(group) == mine and state != "Z":
                    return True
    return False


if __name__ == "__main__":
    sys.exit(_guard(int(sys.argv[1]), sys.argv[2:]))
