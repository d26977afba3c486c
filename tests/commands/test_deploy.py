# SPDX-License-Identifier: Apache-2.0
"""The commands for kits, jobs and a hospital's own checks."""

from pathlib import Path

import pytest
from flap_sam.config.job import Job
from flap_sam.deployment import kit as kits
from flap_sam.deployment.check import CheckResult
from flap_sam.gate.audit import AuditLog

from tests.commands.test_main import run

JOBS = Path(__file__).parents[2] / "jobs"


def test_a_staged_job_is_told_with_what_was_changed(tmp_path, monkeypatch, capsys):
    words = ["stage", str(JOBS / "flap_sam_nifti"), "--out", str(tmp_path / "copy"), "--set", "rank=8"]
    code, out, _ = run(monkeypatch, capsys, *words)
    staged = Job.read(tmp_path / "copy").experiment()
    assert (code, staged.rank) == (0, 8)
    assert f"experiment {staged.digest()}" in out
    assert "flap_sam.federation.executor.FlapSamExecutor" in out
    assert run(monkeypatch, capsys, *words)[0] == 1, "what is there is not overwritten"


def test_a_policy_is_laid_for_every_job_that_is_named(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(kits, "lay", lambda *words: asked.append(words) or [tmp_path / "north", tmp_path / "south"])
    named = [word for name in ("flap_sam_nifti", "flap_sam_kits") for word in ("--job", str(JOBS / name))]
    code, out, _ = run(monkeypatch, capsys, "kit", str(tmp_path), *named)
    assert code == 0
    assert out.splitlines() == [f"policy laid into {tmp_path / name}" for name in ("north", "south")]
    experiments = [Job.read(JOBS / name).experiment() for name in ("flap_sam_nifti", "flap_sam_kits")]
    assert asked == [(tmp_path, kits.POLICIES, experiments, None)]


@pytest.mark.parametrize("good", [[True, True], [True, False], [False]])
def test_a_check_that_finds_a_fault_says_so_in_its_status_too(tmp_path, monkeypatch, capsys, good):
    findings = [CheckResult(f"thing {k}", one, "as it is") for k, one in enumerate(good)]
    monkeypatch.setattr("flap_sam.deployment.check.check", lambda _: findings)
    code, out, _ = run(monkeypatch, capsys, "check", str(tmp_path))
    assert code == (0 if all(good) else 1)
    assert out.count("FAILS") == good.count(False)


def test_what_a_log_says_cannot_forge_the_console(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("flap_sam.deployment.audit.verified", lambda *_: "line \x1b[2Jok")
    code, out, _ = run(monkeypatch, capsys, "audit", str(tmp_path / "audit.jsonl"))
    assert (code, out) == (0, "line \ufffd[2Jok\n")


def test_an_audit_log_is_verified_with_its_head(tmp_path, monkeypatch, capsys):
    log = AuditLog(tmp_path / "audit.jsonl", tmp_path / "state")
    for number in range(2):
        log.write({"round": number})
    words = ["audit", str(log.path), "--head", str(log.head_path)]
    assert run(monkeypatch, capsys, *words)[0] == 0
    log.path.write_bytes(log.path.read_bytes().splitlines(keepends=True)[0])
    code, out, err = run(monkeypatch, capsys, *words)
    assert (code, out, len(err.splitlines())) == (1, "", 1)
