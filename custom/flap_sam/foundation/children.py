# SPDX-License-Identifier: Apache-2.0
"""Processes that end with the one that started them, however that ends.

A child is started by a guardian, which leads a session of its own. Linux tells the guardian when its parent is gone,
and it ends all that is left of the session: a child's own children are often left behind by it. The session has a
folder of its own for temporary files, and leaves none.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PREFIX = "flap-"
PR_SET_PDEATHSIG = 1
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECONDS_TO_END = 10
CHECK_SECONDS = 0.05


class Interrupted(SystemExit):
    """This process was told to end, by the signal that `name` says; its status is the shell's for that."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


@contextmanager
def child(command: Sequence[str], clears: Sequence[Path] = (), **how: Any) -> Iterator["subprocess.Popen[Any]"]:
    """A process that is ended, with its session, at the end of the block or with the thread that is in it.

    Args:
        clears: temporary folders of this process, which are removed where it has been killed meanwhile.
        how: as `subprocess.Popen` takes it.
    """
    outer = Path(tempfile.gettempdir())
    beside = outer.parent if outer.name.startswith(PREFIX) else outer  # the paths of sockets in it have a limit
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=beside, ignore_cleanup_errors=True) as temporary:
        folders = json.dumps([temporary, *map(str, clears)])
        words = [sys.executable, "-I", "-S", __file__, str(os.getpid()), folders, *command]
        how["env"] = {**(how.get("env") or os.environ), "TMPDIR": temporary}
        process = subprocess.Popen(words, start_new_session=True, **how)
        try:
            yield process
        finally:
            process.terminate()
            if process.wait() == -signal.SIGKILL:  # nobody guards the session any more
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn a signal that ends this process into the exception `Interrupted`, so that every `finally` in the block runs.

    Signals that follow are ignored, so that nothing interrupts the clean-up.
    """
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: object) -> None:
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number)


def _guard(parent: int, folders: Sequence[str], command: Sequence[str]) -> int:
    """Run a command to its end, or to that of the parent, whose folders are removed then; its status."""
    try:
        return _watch(parent, command)
    finally:
        if os.getppid() != parent:
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)


def _watch(parent: int, command: Sequence[str]) -> int:
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


def _end_session(process: "subprocess.Popen[Any]") -> None:
    os.killpg(0, signal.SIGTERM)
    until = time.monotonic() + SECONDS_TO_END
    while (process.poll() is None or _others()) and time.monotonic() < until:
        time.sleep(CHECK_SECONDS)
    until += SECONDS_TO_END
    while (left := _others()) and time.monotonic() < until:
        for other in left:
            with suppress(ProcessLookupError):
                os.kill(other, signal.SIGKILL)
        time.sleep(CHECK_SECONDS)


def _others() -> list[int]:
    """The other processes of the session's group."""
    mine, others = os.getpgrp(), []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                state, _, group = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
                if int(group) == mine and state != "Z":
                    others.append(int(process.name))
    return others


if __name__ == "__main__":
    sys.exit(_guard(int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]))
