# SPDX-License-Identifier: Apache-2.0
"""The note beside label maps: whose they are, of which scan, and whether all of them are there."""

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.inference.finished import ScanNote, ScanOutcome
from flap_sam.inference.scans import Scan

OUTCOME = ScanOutcome(volumes=(1.5, 0.0), notes=("ct.nii is odd.",))


@pytest.fixture
def scan(tmp_path) -> Scan:
    (tmp_path / "ct.nii").write_bytes(b"voxels")
    return Scan("ct", tmp_path / "ct.nii")


def note(scan, by="network-1", folder="out") -> ScanNote:
    return ScanNote(scan.path.parent / folder, scan, by)


def test_without_a_note_nothing_is_ours(scan):
    assert not note(scan).is_ours()
    assert note(scan).outcome() is None
    note(scan).remove()


def test_a_scan_that_is_begun_is_ours_and_has_no_outcome(scan):
    note(scan).write(None)
    assert note(scan).is_ours()
    assert note(scan).outcome() is None


def test_an_outcome_comes_back_to_a_run_like_this_one_and_to_no_other(scan):
    note(scan).write(OUTCOME)
    assert note(scan).outcome() == OUTCOME
    other = note(scan, by="network-2")
    assert (other.is_ours(), other.outcome()) == (False, None)
    note(scan).remove()
    assert not note(scan).is_ours()
    assert not list((scan.path.parent / "out").iterdir())


def test_another_content_under_the_same_name_has_no_outcome_but_its_maps_are_ours(scan):
    note(scan).write(OUTCOME)
    scan.path.write_bytes(b"VOXELS")
    assert note(scan).is_ours()
    assert note(scan).outcome() is None


@pytest.mark.parametrize("change", ["another", "one more", "one less"])
def test_a_series_is_all_of_its_slices_in_their_order(tmp_path, change):
    files = [tmp_path / f"{k}.dcm" for k in range(3)]
    for k, file in enumerate(files):
        file.write_bytes(bytes([k]))
    note(Scan("ct", tmp_path, tuple(files))).write(OUTCOME)
    assert note(Scan("ct", tmp_path, tuple(files))).outcome() == OUTCOME
    if change == "another":
        files[1].write_bytes(b"x")
    elif change == "one more":
        files.append(tmp_path / "3.dcm")
        files[-1].write_bytes(b"3")
    else:
        files.pop()
    assert note(Scan("ct", tmp_path, tuple(files))).outcome() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"by": 3, "scan": "x", "outcome": null}', b"\xff"])
def test_a_damaged_note_is_none(scan, content):
    note(scan).write(OUTCOME)
    (scan.path.parent / "out" / ".ct.predict.json").write_bytes(content)
    assert (note(scan).is_ours(), note(scan).outcome()) == (False, None)


def test_a_scan_that_is_gone_is_one_sentence(scan):
    scan.path.unlink()
    with pytest.raises(FlapSamError, match=r"ct\.nii cannot be read"):
        note(scan).write(None)
