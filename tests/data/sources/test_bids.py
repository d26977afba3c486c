# SPDX-License-Identifier: Apache-2.0
import pytest
from flap_sam.data.prepare import prepare
from flap_sam.data.sources.bids import Bids
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError

from tests.data.volumes import save_pair


@pytest.fixture
def folder(tmp_path):
    for name, suffix in (("sub-01", "T1w"), ("sub-02", "FLAIR")):
        labels = tmp_path / "derivatives" / "labels" / name / "anat"
        save_pair(tmp_path / name / "anat" / f"{name}_{suffix}.nii.gz", labels / f"{name}_{suffix}_dseg.nii.gz")
    rows = ("participant_id\tage\tsite\tsplit", "sub-01\t40\tNorth\ttrain", "sub-02\t50\tSouth\ttrain")
    (tmp_path / "participants.tsv").write_text("\n".join(rows))
    return tmp_path


def test_the_layout(folder):
    source = Bids(folder)
    assert source.sites() == ["North", "South"]
    assert source.classes == ("class 1", "class 2")
    case = source.cases("South")[0]
    assert (case.id, case.image.name, case.label.name) == (
        "sub-02",
        "sub-02_FLAIR.nii.gz",
        "sub-02_FLAIR_dseg.nii.gz",
    )
    prepare("bids", folder, folder / "store", workers=1)
    assert SiteStore.open(folder / "store", "South").training_slices == 6


def test_a_participant_with_no_or_two_images(folder):
    save_pair(folder / "sub-02" / "anat" / "sub-02_T2w.nii.gz", folder / "unused.nii.gz")
    with pytest.raises(FlapSamError, match=r"sub-02/anat holds 2 files \*\.nii\.gz, expected exactly one"):
        Bids(folder).cases("South")
    (folder / "derivatives" / "labels" / "sub-01" / "anat" / "sub-01_T1w_dseg.nii.gz").unlink()
    with pytest.raises(FlapSamError, match=r"labels/sub-01/anat holds 0 files \*_dseg\.nii\.gz"):
        Bids(folder).cases("North")


def test_a_missing_table(tmp_path):
    with pytest.raises(FlapSamError, match=r"participants\.tsv cannot be read"):
        Bids(tmp_path).sites()


def test_participants_beside_the_table_are_named(folder):
    (folder / "sub-03" / "anat").mkdir(parents=True)
    (note,) = Bids(folder).notes()
    assert note.endswith("passed over: 1 (sub-03).")
