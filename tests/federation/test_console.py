# SPDX-License-Identifier: Apache-2.0
import io
import logging
import subprocess
import sys

from flap_sam.federation.console import quiet, say

IN_A_PROCESS = """
from nvflare.fuel.utils.log_utils import apply_log_config
from flap_sam.federation.console import quiet_config
from tests.federation.test_console import speak
apply_log_config(quiet_config(), {folder!r})
speak()
"""


def speak() -> None:
    logging.getLogger("nvflare.private.Somebody").info("chatter")
    logging.getLogger("__main__.ClientTaskWorker").info("started to run")
    logging.getLogger("nvflare.private.Somebody").warning("a warning")
    say("a line of ours")


def test_a_quiet_console_shows_our_lines_and_what_is_serious(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    console = logging.StreamHandler(io.StringIO())
    monkeypatch.setattr(logging.getLogger(), "handlers", [console])
    quiet()
    speak()
    assert console.stream.getvalue().splitlines() == ["a warning", "a line of ours"]


def test_a_simulation_is_quiet_from_its_first_line_and_its_log_has_everything(tmp_path):
    code = IN_A_PROCESS.format(folder=str(tmp_path))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shown = [line.partition(" - ")[2] for line in run.stdout.splitlines()]
    assert shown == ["WARNING - a warning", "INFO - a line of ours"]
    log = (tmp_path / "log.txt").read_text()
    assert all(words in log for words in ("chatter", "started to run", "a warning", "a line of ours"))
