# SPDX-License-Identifier: Apache-2.0
"""A `flap-sam` command in a session of its own, and how terminals, operators and machines interrupt it."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

MARK = "FLAP_TEST_RUN"
SECONDS_TO_BEGIN, SECONDS_TO_END = 120, 30


class Run:
    """A command that is under way; all that it starts carries its mark in the environment."""

    def __init__(self, words: list[object], environment: dict[str, str]) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [str(word) for word in (Path(sys.executable).parent / "flap-sam", *words)],
            env=environment | {MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def until(self, happened: Callable[[], object]) -> None:
        """Wait for a moment in the middle of the run."""
        end = time.monotonic() + SECONDS_TO_BEGIN
        while not happened():
            assert self.process.poll() is None, "it ended before: " + self.process.communicate()[0]
            assert time.monotonic() < end, "it did not come so far in time"
            time.sleep(0.002)

    def send(self, number: int) -> None:
        """SIGINT as a terminal sends it, to the whole foreground; any other signal to the command alone."""
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def kill(self, words: str) -> None:
        """Kill the first of the run's processes whose command holds the words."""
        os.kill(next(pid for pid, command in self.processes() if words in command), signal.SIGKILL)

    def processes(self) -> Iterator[tuple[int, str]]:
        """The run's processes, the command's own left out, as (pid, command)."""
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) not in (self.process.pid, os.getpid()):
                with suppress(OSError):
                    if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                        yield int(folder.name), (folder / "cmdline").read_text().replace("\0", " ")

    def end(self, seconds: float = SECONDS_TO_END) -> tuple[int, str]:
        """Status and output of the command once it and all that it has started have ended, which must be soon."""
        told, _ = self.process.communicate(timeout=seconds)
        until = time.monotonic() + seconds
        while left := list(self.processes()):
            assert time.monotonic() < until, f"left behind: {left}"
            time.sleep(0.05)
        return self.process.returncode, told


@contextmanager
def running(words: list[object], environment: dict[str, str]) -> Iterator[Run]:
    """A run that leaves nothing behind, whatever becomes of the test."""
    run = Run(words, environment)
    try:
        yield run
    finally:
        for pid in [run.process.pid, *(pid for pid, _ in run.processes())]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.process.wait()
        run.process.stdout.close()


def run_whole(words: list[object], environment: dict[str, str], seconds: float = 300) -> str:
    """The output of a command that must succeed."""
    with running(words, environment) as run:
        status, told = run.end(seconds)
    assert status == 0, told
    return told


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[], None]]:
    """A file system of so many bytes at a folder, and what makes it large.

    The test is skipped where this user may not mount one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=100m", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
