# SPDX-License-Identifier: Apache-2.0
"""What is odd about a volume reaches whoever prepares, examines, segments or scores it, and names no folder."""

import nibabel as nib
import numpy as np
import pytest

from tests.commands.test_main import run
from tests.data.volumes import save

ODD = "does not say how the patient lies"


@pytest.fixture
def folder(tmp_path):
    """Three cases, of one of which neither file says how the patient lies."""
    folder = tmp_path / "Doe_Jane"
    for seed, case in enumerate("abc"):
        rng = np.random.default_rng(seed)
        save(folder / "images" / f"{case}.nii", rng.integers(0, 900, (6, 8, 9)).astype(np.int16))
        save(folder / "labels" / f"{case}.nii", rng.integers(0, 2, (6, 8, 9), np.uint8))
    for kind in ("images", "labels"):
        path = folder / kind / "b.nii"
        image = nib.load(path)
        image = nib.Nifti1Image(np.asarray(image.dataobj).copy(), None, image.header)
        image.set_sform(None, 0)
        image.set_qform(None, 0)
        nib.save(image, path)
    (folder / "sites.csv").write_text("case;site;split\na;A;train\nb;A;train\nc;A;test\n")
    (folder / "images" / "d.mha").touch()
    return folder


def test_in_prepare_and_in_both_kinds_of_doctor(folder, tmp_path, monkeypatch, capsys):
    words = ("prepare", "pairs", "--source", str(folder), "--out", str(tmp_path / "store"), "--workers", "1")
    code, out, err = run(monkeypatch, capsys, *words)
    assert (code, err) == (0, "")
    assert [line.strip()[:20] for line in out.splitlines() if ODD in line] == ["note on b: b.nii doe"] * 2
    assert any(line.startswith("note: ") and "d.mha" in line for line in out.splitlines())
    manifest = (tmp_path / "store" / "A" / "manifest.json").read_text()
    assert ODD in manifest
    assert "Doe_Jane" not in manifest
    for where in (["--source", str(folder), "--layout", "pairs"], [str(tmp_path / "store")]):
        code, out, _ = run(monkeypatch, capsys, "doctor", *where, "--out", str(tmp_path / "doctor"))
        assert code == 0
        assert sum(line.startswith("warning: site A, b: b.nii does not say") for line in out.splitlines()) == 2


def test_in_evaluate(folder, monkeypatch, capsys):
    maps = str(folder / "labels")
    code, out, _ = run(monkeypatch, capsys, "evaluate", "--predicted", maps, "--truth", maps, "--classes", "1")
    assert code == 0
    assert out.count(f"note on b: b.nii {ODD}") == 2
