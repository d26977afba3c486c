# SPDX-License-Identifier: Apache-2.0
import errno
import os

import nibabel as nib
import numpy as np
import pytest
from flap_sam.commands.tables.prediction import prediction_table
from flap_sam.errors import FlapSamError
from flap_sam.inference import predict as module
from flap_sam.inference.predict import predict
from flap_sam.inference.scans import scans_at
from flap_sam.inference.segment import Segmenter

from tests.data.dicom import write_series
from tests.data.volumes import save
from tests.inference.test_segment import AXES, scan_of, segmenter


@pytest.fixture
def folder(tmp_path):
    for name, axes in zip("abc", [*AXES.values(), np.eye(4)], strict=True):
        save(tmp_path / "in" / f"{name}.nii.gz", scan_of(axes), axes)
    axes = np.diag([-1.0, -1.0, 2.0, 1.0])
    write_series(tmp_path / "in" / "ct", scan_of(axes), axes)
    return tmp_path / "in"


def test_every_scan_of_a_folder_gets_a_mask_and_a_picture(small, folder, tmp_path):
    out = tmp_path / "out"
    done = list(predict(segmenter(small), scans_at(folder).scans, out))
    assert [(p.name, p.error) for p in done] == [("a", None), ("b", None), ("c", None), ("ct", None)]
    assert sorted(p.name for p in out.iterdir()) == [
        f"{name}{ending}" for name in ("a", "b", "c", "ct") for ending in ("_mask.nii.gz", "_overlay.png")
    ]
    scan, mask = (nib.load(path) for path in (folder / "b.nii.gz", out / "b_mask.nii.gz"))
    spacing = np.prod(np.abs(scan.affine[:3, :3]).sum(0))
    assert done[1].volumes[0] == pytest.approx(np.count_nonzero(np.asarray(mask.dataobj) == 1) * spacing / 1000)
    series = np.asarray(nib.load(out / "ct_mask.nii.gz").dataobj)
    np.testing.assert_array_equal(series, (scan_of(np.eye(4)) > 40).astype(int) + (scan_of(np.eye(4)) > 70))


def test_one_broken_scan_does_not_keep_the_others(small, folder, tmp_path):
    (folder / "b.nii.gz").write_bytes((folder / "b.nii.gz").read_bytes()[:300])
    done = list(predict(segmenter(small), scans_at(folder).scans, tmp_path / "out"))
    assert [p.error is None for p in done] == [True, False, True, True]
    assert "b.nii.gz cannot be read" in done[1].error
    text = prediction_table(done, ["organ", "lesion"], tmp_path / "out")
    assert "3 of 4 scans segmented" in text
    assert f"b: {done[1].error}" in text


def test_nothing_is_overwritten(small, folder, tmp_path):
    save(tmp_path / "out" / "c_mask.nii.gz", np.ones((2, 2, 2), np.uint8))
    with pytest.raises(FlapSamError, match=r"c_mask\.nii\.gz is there already"):
        list(predict(segmenter(small), scans_at(folder).scans, tmp_path / "out"))
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_what_is_odd_about_a_scan_is_told(small, tmp_path):
    """A scan in metres: the mask is in millimetres and says so, and the volume is that of the millimetres."""
    for unit, scale in (("mm", 1), ("meter", 1e-3), ("micron", 1e3)):
        axes = np.diag([*np.multiply([-1.5, -1.5, 3.0], scale), 1.0])
        scan = nib.Nifti1Image(scan_of(np.eye(4)), axes)
        scan.header.set_xyzt_units(unit)
        (tmp_path / "in").mkdir(exist_ok=True)
        nib.save(scan, tmp_path / "in" / f"{unit}.nii.gz")
    done = {p.name: p for p in predict(segmenter(small), scans_at(tmp_path / "in").scans, tmp_path / "out")}
    assert done["mm"].notes == ()
    text = prediction_table(list(done.values()), ["organ", "lesion"], tmp_path / "out")
    for unit in ("meter", "micron"):
        assert done[unit].volumes == pytest.approx(done["mm"].volumes, rel=1e-5)
        header = nib.load(tmp_path / "out" / f"{unit}_mask.nii.gz").header
        assert header.get_zooms() == pytest.approx((1.5, 1.5, 3.0))
        assert header.get_xyzt_units()[0] == "mm"
        assert f"note on {unit}: {unit}.nii.gz is in the unit" in text


def images(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def begun(small, folder, out, keeps=False, at="b") -> None:
    """A run that was interrupted while it drew the picture of a scan."""
    draw = module.draw

    def stop(path, name, *words):
        if name == at:
            raise KeyboardInterrupt
        draw(path, name, *words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "draw", stop)
        with pytest.raises(KeyboardInterrupt):
            list(predict(segmenter(small, keeps), scans_at(folder).scans, out))


@pytest.mark.parametrize("at", ["a", "c", "ct"])
@pytest.mark.parametrize("keeps", [False, True])
def test_the_same_run_goes_on_where_it_was_interrupted(small, folder, tmp_path, monkeypatch, at, keeps):
    whole, out = tmp_path / "whole", tmp_path / "out"
    expected = list(predict(segmenter(small, keeps), scans_at(folder).scans, whole))
    begun(small, folder, out, keeps, at)
    made = []
    segment = Segmenter.segment
    monkeypatch.setattr(Segmenter, "segment", lambda *words: made.append(1) or segment(*words))
    assert list(predict(segmenter(small, keeps), scans_at(folder).scans, out)) == expected
    names = [scan.name for scan in scans_at(folder).scans]
    assert len(made) == len(names) - names.index(at)
    assert images(out) == images(whole)
    with pytest.raises(FlapSamError, match="is there already"):
        list(predict(segmenter(small, keeps), scans_at(folder).scans, out))


def test_a_run_of_another_kind_does_not_go_on(small, folder, tmp_path):
    begun(small, folder, tmp_path / "out")
    before = images(tmp_path / "out")
    for other in (segmenter(small, keeps=True), segmenter(small, side=64), segmenter(small.changed(seed=8))):
        with pytest.raises(FlapSamError, match=r"a_mask\.nii\.gz is there already"):
            list(predict(other, scans_at(folder).scans, tmp_path / "out"))
        assert images(tmp_path / "out") == before


def test_a_scan_that_has_changed_meanwhile_is_segmented_again(small, folder, tmp_path):
    begun(small, folder, tmp_path / "out")
    save(folder / "a.nii.gz", 100 - scan_of(np.eye(4)), np.eye(4))
    list(predict(segmenter(small), scans_at(folder).scans, tmp_path / "out"))
    list(predict(segmenter(small), scans_at(folder).scans, tmp_path / "anew"))
    assert images(tmp_path / "out") == images(tmp_path / "anew")


def test_a_run_with_a_broken_scan_goes_on_once_that_is_whole(small, folder, tmp_path):
    whole = (folder / "b.nii.gz").read_bytes()
    (folder / "b.nii.gz").write_bytes(whole[:300])
    first = list(predict(segmenter(small), scans_at(folder).scans, tmp_path / "out"))
    (folder / "b.nii.gz").write_bytes(whole)
    then = list(predict(segmenter(small), scans_at(folder).scans, tmp_path / "out"))
    assert [p.error is None for p in then] == [True] * 4
    assert [p for p in first if not p.error] == [p for p in then if p.name != "b"]
    assert not list((tmp_path / "out").glob(".*"))


def test_a_disk_without_room_ends_the_run(small, folder, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    going = predict(segmenter(small), scans_at(folder).scans, tmp_path / "out")
    assert next(going).name == "a"
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(FlapSamError, match=r"cannot be written.*No space left"):
        next(going)
