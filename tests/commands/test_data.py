# SPDX-License-Identifier: Apache-2.0
"""The commands that prepare data and look at it."""

import pytest

from tests.commands.test_main import run
from tests.data.pairs_site import Site

ODD = "does not say how the patient lies"


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_what_is_odd_about_a_volume_is_told_and_names_no_folder(odd_volumes, tmp_path, monkeypatch, capsys):
    words = ("prepare", "pairs", "--source", str(odd_volumes), "--out", str(tmp_path / "store"), "--workers", "1")
    code, out, err = run(monkeypatch, capsys, *words)
    assert (code, err) == (0, "")
    assert [line.strip()[:20] for line in out.splitlines() if ODD in line] == ["note on b: b.nii doe"] * 2
    assert any(line.startswith("note: ") and "d.mha" in line for line in out.splitlines())
    manifest = (tmp_path / "store" / "A" / "manifest.json").read_text()
    assert ODD in manifest
    assert "Doe_Jane" not in manifest
    for where in (["--source", str(odd_volumes), "--layout", "pairs"], [str(tmp_path / "store")]):
        code, out, _ = run(monkeypatch, capsys, "doctor", *where, "--out", str(tmp_path / "doctor"))
        assert code == 0
        assert sum(line.startswith("warning: site A, b: b.nii does not say") for line in out.splitlines()) == 2


def test_the_commands_say_what_was_done_and_what_is_stale(site, tmp_path, monkeypatch, capsys):
    words = ["prepare", "pairs", "--source", str(site.folder), "--out", str(site.store), "--workers", "1"]
    assert run(monkeypatch, capsys, *words)[:2] == (0, "site A: 4 cases; all new\n")
    assert run(monkeypatch, capsys, *words)[:2] == (0, "site A: 4 cases, all as they were\n")
    site.add("e", "test")
    examine = ["doctor", str(site.store), "--out", str(tmp_path / "doctor")]
    assert run(monkeypatch, capsys, *examine)[0] == 0
    code, out, _ = run(monkeypatch, capsys, *examine, "--source", str(site.folder))
    assert code == 1
    assert "error: site A, e: It is in" in out
    assert "added 1 (e)" in run(monkeypatch, capsys, *words)[1]
    (site.folder / "sites.csv").write_text("case,site,split\na,B,train\nb,B,train\n")
    _, out, _ = run(monkeypatch, capsys, *words)
    assert "site B: 2 cases; all new" in out
    assert f"site A: in {site.store}, but not in {site.folder}; it stays as it is" in out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--layout", "pairs"],
        ["--source", "x"],
        ["store", "--layout", "pairs"],
        ["store", "--source", "x", "--site", "A"],
    ],
)
def test_the_doctor_says_what_it_can_examine(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, "doctor", *words)
    assert (code, out) == (1, "")
    assert "Name a store, a store and its --source, or --source with its --layout." in err
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_is_none_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "sam.pth").write_bytes(b"x")
    code, out, err = run(monkeypatch, capsys, "checkpoint", str(tmp_path / "sam.pth"))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert str(tmp_path / "sam.pth") in err
