# SPDX-License-Identifier: Apache-2.0
import errno
import os
import signal
import subprocess
import sys

import pytest
from flap_sam.commands import main as cli


def run(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["flap-sam", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    captured = capsys.readouterr()
    return left.value.code, captured.out, captured.err


def test_an_error_is_one_sentence_and_a_status(monkeypatch, capsys, tmp_path):
    code, _, err = run(
        monkeypatch, capsys, "prepare", "decathlon", "--source", str(tmp_path), "--out", str(tmp_path / "S")
    )
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert str(tmp_path) in err


@pytest.mark.parametrize("number", sorted(cli.REFUSALS))
def test_what_the_system_refuses_is_one_sentence_wherever_it_comes_from(monkeypatch, capsys, tmp_path, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number), str(tmp_path / "file"))

    monkeypatch.setattr("flap_sam.records.results.results_below", refuse)
    code, out, err = run(monkeypatch, capsys, "results", str(tmp_path))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert f"{os.strerror(number)}: '{tmp_path}/file'" in err


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch, tmp_path):
    def fault(*_):
        raise FileNotFoundError(errno.ENOENT, "nothing there")

    monkeypatch.setattr("flap_sam.records.results.results_below", fault)
    monkeypatch.setattr("sys.argv", ["flap-sam", "results", str(tmp_path)])
    with pytest.raises(FileNotFoundError):
        cli.main()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_is_one_sentence_and_the_shells_status(monkeypatch, capsys, tmp_path, number):
    monkeypatch.setattr("flap_sam.records.results.results_below", lambda *_: signal.raise_signal(number))
    code, out, err = run(monkeypatch, capsys, "results", str(tmp_path))
    assert (code, out) == (128 + number, "")
    assert err == f"flap-sam: interrupted by {number.name}; what was finished before is kept.\n"


def test_a_terminal_without_utf_8_is_no_error(tmp_path):
    words = [
        sys.executable,
        "-c",
        "from flap_sam.commands.main import main; main()",
        "results",
        str(tmp_path / "Zürich"),
    ]
    settings = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for command in (words, [*words[:3], "--help"]):
        done = subprocess.run(command, env=settings, capture_output=True, check=False)
        assert b"Traceback" not in done.stderr
        (done.stdout + done.stderr).decode("ascii")
