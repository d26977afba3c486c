# SPDX-License-Identifier: Apache-2.0
"""The commands by which a hospital fills in and checks its kit, as they are typed."""

from pathlib import Path

import pytest
from flap_sam.commands import main as cli
from flap_sam.commands.main import app
from flap_sam.config.experiment import Experiment
from flap_sam.config.job import Job
from flap_sam.config.job_files import write
from flap_sam.config.paper import settings_for
from flap_sam.config.run_policy import RunPolicy
from flap_sam.config.site import Site
from flap_sam.deployment.check import CheckResult
from flap_sam.errors import FlapSamError
from flap_sam.federation.kits.policy import HOSPITAL, SERVER, STARTUP_FILES, lay
from flap_sam.gate.agreement import Agreement
from flap_sam.gate.audit import AuditLog
from typer.testing import CliRunner

from tests.commands.test_main import run

JOBS = Path(__file__).parents[2] / "jobs"
EXPERIMENTS = [Experiment(rank=4), Experiment(rank=8)]


@pytest.fixture
def jobs(tmp_path: Path) -> list[str]:
    return [str(write(tmp_path / f"job_{e.rank}", e, RunPolicy()).folder) for e in EXPERIMENTS]


@pytest.fixture
def kits(tmp_path: Path) -> list[str]:
    """Two hospitals' kits as provisioned, and a server's."""
    kits = [(tmp_path / "kits" / name, role) for name, role in (("a", HOSPITAL), ("b", HOSPITAL), ("server", SERVER))]
    for kit, role in kits:
        (kit / "startup").mkdir(parents=True)
        (kit / "startup" / STARTUP_FILES[role]).write_text("{}")
        lay(kit, role)
    return [str(kit) for kit, _ in kits]


def told(*words: str) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_several_kits_are_filled_in_by_one_command(kits, jobs):
    output = told("kit", *kits[:2], "--job", jobs[0], "--job", jobs[1], "--set", "device=cpu", "--set", "pictures=true")
    for kit in kits[:2]:
        assert f"filled in {kit}" in output
        assert Agreement.read(Path(kit, "local")).experiments == tuple(EXPERIMENTS)
        assert (Site.read(Path(kit, "local")).device, Site.read(Path(kit, "local")).pictures) == ("cpu", True)
    for experiment in EXPERIMENTS:
        assert experiment.digest()[:12] in output


def test_a_kit_is_renewed_without_a_word_of_agreements(kits):
    for kit in kits:
        assert told("kit", kit) == f"filled in {kit}\n"
    with pytest.raises(FlapSamError, match="nothing passes"):
        Agreement.read(Path(kits[0], "local"))


@pytest.mark.parametrize("words", [["--gpus", "-1"], ["--gpus", "two"], ["--gpu", "1"]])
def test_what_is_no_number_of_gpus_is_no_option(kits, words):
    assert CliRunner().invoke(app, ["kit", kits[0], *words]).exit_code == 2


def test_a_staged_job_is_told_with_what_was_changed(tmp_path, monkeypatch, capsys):
    words = ["stage", str(JOBS / "flap_sam_nifti"), "--out", str(tmp_path / "copy"), "--set", "rank=8"]
    code, out, _ = run(monkeypatch, capsys, *words)
    staged = Job.read(tmp_path / "copy").experiment()
    assert (code, staged.rank) == (0, 8)
    assert f"experiment {staged.digest()}" in out
    assert "flap_sam.federation.executor.FlapSamExecutor" in out
    assert run(monkeypatch, capsys, *words)[0] == 1, "what is there is not overwritten"


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


@pytest.mark.parametrize("folder", sorted(JOBS.glob("flap_sam_*")), ids=lambda folder: folder.name)
def test_a_job_is_staged_with_the_papers_settings(folder, tmp_path, monkeypatch, capsys):
    words = ["stage", str(folder), "--out", str(tmp_path / "out"), "--preset", "paper", "--set", "rounds=7"]
    monkeypatch.setattr("sys.argv", ["flap-sam", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    staged, told = Job.read(tmp_path / "out").experiment(), capsys.readouterr().out
    paper = settings_for(staged.dataset) | {"rounds": 7}
    assert {name: getattr(staged, name) for name in paper} == paper
    assert told.index("What the preset paper changes") < told.index("What it runs") < told.index(staged.digest())
