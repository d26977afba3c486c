# SPDX-License-Identifier: Apache-2.0
"""`flap-sam audit`, as a security officer runs it."""

import pytest
from flap_sam.commands.main import app
from flap_sam.gate.audit import AuditLog
from typer.testing import CliRunner


@pytest.fixture
def log(tmp_path) -> AuditLog:
    log = AuditLog(tmp_path / "audit.jsonl", tmp_path / "state")
    for number in range(3):
        log.write({"round": number})
    return log


def run(*words: object):
    return CliRunner().invoke(app, ["audit", *map(str, words)])


def test_a_whole_log_is_told_by_its_last_line(log):
    told = run(log.path, "--head", log.head_path)
    assert told.exit_code == 0
    assert "3 lines" in told.output
    assert run(log.path).output == told.output


def test_a_log_without_its_last_line_is_refused_beside_its_head(log):
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:2]))
    assert run(log.path).exit_code == 0, "the chain alone cannot tell"
    told = run(log.path, "--head", log.head_path)
    assert told.exit_code != 0
    assert "ends with line 2, its head knows 3" in str(told.exception)


@pytest.mark.parametrize("text", [b"{}\n", b"no json\n", None])
def test_what_is_no_log_is_refused_in_a_sentence(log, text):
    log.path.unlink() if text is None else log.path.write_bytes(text)
    told = run(log.path)
    assert told.exit_code != 0
    assert "is not whole" in str(told.exception)
