# SPDX-License-Identifier: Apache-2.0
"""The commands for what a run has left."""

import pytest

from tests.commands.test_main import run
from tests.data.volumes import save
from tests.export.models import write_payload
from tests.inference.test_evaluate import AXES, box, folders
from tests.report.runs import made_run

__all__ = ["folders"]

ODD = "does not say how the patient lies"


def test_what_is_odd_about_a_label_map_is_told_by_evaluate(odd_volumes, monkeypatch, capsys):
    maps = str(odd_volumes / "labels")
    code, out, _ = run(monkeypatch, capsys, "evaluate", "--predicted", maps, "--truth", maps, "--classes", "1")
    assert code == 0
    assert out.count(f"note on b: b.nii {ODD}") == 2


def test_maps_without_truth_are_named_and_the_exit_status_says_so(folders, tmp_path, monkeypatch, capsys):
    for name in ("c_mask.nii.gz", "d.nii.gz"):
        save(folders[0] / name, box(0), AXES)
    words = ["--predicted", str(folders[0]), "--truth", str(folders[1]), "--classes", "1", "--csv", str(tmp_path / "s")]
    code, out, _ = run(monkeypatch, capsys, "evaluate", *words)
    assert code == 1
    assert "2 label maps not scored" in out
    assert str(folders[0] / "c_mask.nii.gz") in out
    assert str(folders[0] / "d.nii.gz") in out
    assert len((tmp_path / "s").read_text().splitlines()) == 3, "what has a truth is scored"


def test_the_command_calls_classes_as_the_store_does_and_numbers_those_of_masks(
    small, store, folders, tmp_path, monkeypatch, capsys
):
    words = ["--payload", str(write_payload(small, tmp_path)), "--store", str(store), "--site", "A"]
    code, out, _ = run(monkeypatch, capsys, "evaluate", *words)
    assert (code, "organ" in out, "lesion" in out, "class 1" in out) == (0, True, True, False)
    words = ["--predicted", str(folders[0]), "--truth", str(folders[1]), "--classes", "2"]
    code, out, _ = run(monkeypatch, capsys, "evaluate", *words)
    assert (code, "class 1" in out, "class 2" in out) == (0, True, True)


def test_the_command_writes_the_page(tmp_path, monkeypatch, capsys):
    made_run(tmp_path)
    code, out, _ = run(monkeypatch, capsys, "report", str(tmp_path), "-o", str(tmp_path / "new" / "page.html"))
    assert (code, str(tmp_path / "new" / "page.html") in out) == (0, True)
    assert (tmp_path / "new" / "page.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--predicted", "p", "--truth", "t"],
        ["--payload", "p"],
        ["--predicted", "p", "--truth", "t", "--classes", "1", "--payload", "p"],
        ["--payload", "p", "--store", "s", "--truth", "t"],
    ],
)
def test_evaluate_says_what_it_can_score(monkeypatch, capsys, words):
    monkeypatch.delenv("FLAP_SAM_DATA", raising=False)
    code, out, err = run(monkeypatch, capsys, "evaluate", *words)
    assert (code, out) == (1, "")
    assert "Name either --predicted, --truth and --classes, or --payload and --store." in err


def test_results_shows_every_run_below_a_folder(tmp_path, monkeypatch, capsys):
    folders = [made_run(tmp_path / name) for name in ("one", "two")]
    code, out, _ = run(monkeypatch, capsys, "results", str(tmp_path))
    assert code == 0
    assert all(out.count(f"--payload {folder}/") for folder in folders)


def test_no_results_are_an_error(monkeypatch, capsys, tmp_path):
    code, _, err = run(monkeypatch, capsys, "results", str(tmp_path))
    assert (code, "No finished run" in err, "error_log.txt says why" in err) == (1, True, True)
