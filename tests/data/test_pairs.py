# SPDX-License-Identifier: Apache-2.0
"""Your own data: `pairs` and `bids`."""

import numpy as np
import pytest
from flap_sam.data.prepare import prepare
from flap_sam.data.sources.bids import Bids
from flap_sam.data.sources.pairs import Pairs
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError

from tests.data.volumes import save

SHAPE = (4, 5, 6)
SITES = "case,site,split\none,North,train\ntwo,North,test\n"


def write(image, label, highest=2):
    save(image, np.arange(120, dtype=np.int16).reshape(SHAPE))
    save(label, (np.arange(120).reshape(SHAPE) % (highest + 1)).astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "images" / "one.nii.gz", tmp_path / "labels" / "one.nii.gz")
    write(tmp_path / "images" / "two_0000.nii.gz", tmp_path / "labels" / "two.nii.gz", highest=1)
    (tmp_path / "sites.csv").write_text(SITES)
    return tmp_path


@pytest.fixture
def bids(tmp_path):
    for name, suffix in (("sub-01", "T1w"), ("sub-02", "FLAIR")):
        labels = tmp_path / "derivatives" / "labels" / name / "anat"
        write(tmp_path / name / "anat" / f"{name}_{suffix}.nii.gz", labels / f"{name}_{suffix}_dseg.nii.gz")
    rows = ("participant_id\tage\tsite\tsplit", "sub-01\t40\tNorth\ttrain", "sub-02\t50\tSouth\ttrain")
    (tmp_path / "participants.tsv").write_text("\n".join(rows))
    return tmp_path


def test_folders_with_plain_and_nnunet_names(folder):
    source = Pairs(folder)
    assert source.sites() == ["North"]
    assert source.classes == ("class 1", "class 2")
    assert [(case.id, case.split, case.image.name) for case in source.cases("North")] == [
        ("one", "train", "one.nii.gz"),
        ("two", "test", "two_0000.nii.gz"),
    ]
    prepare("pairs", folder, folder / "store", workers=1)
    assert SiteStore.open(folder / "store", "North").manifest.classes == ("class 1", "class 2")


def test_class_names_of_a_file(folder):
    (folder / "classes.txt").write_text("\ufeffliver\n\n portal vein \n", "utf-8")
    assert Pairs(folder).classes == ("liver", "portal vein")
    (folder / "classes.txt").write_text("\n")
    with pytest.raises(FlapSamError, match=r"classes\.txt holds 0 class names"):
        assert Pairs(folder).classes
    (folder / "classes.txt").write_bytes(b"\xff\xff")
    with pytest.raises(FlapSamError, match=r"classes\.txt cannot be read"):
        assert Pairs(folder).classes


@pytest.mark.parametrize("highest", [0, 300])
def test_labels_that_give_no_classes(folder, highest):
    for name in ("one", "two"):
        save(folder / "labels" / f"{name}.nii.gz", np.full(SHAPE, highest, np.int16))
    with pytest.raises(FlapSamError, match=rf"highest label .* is {highest}, expected 1 to 255"):
        assert Pairs(folder).classes


def test_a_table_of_paths(folder):
    write(folder / "scans" / "x" / "ct.nii.gz", folder / "masks" / "x.nii")
    (folder / "cases.csv").write_text(
        "case,site,split,image,label,remark\n"
        "x,South,train,scans/x/ct.nii.gz,masks/x.nii,fine\n"
        "y,South,test,images/one.nii.gz,labels/one.nii.gz,\n"
    )
    source = Pairs(folder)
    assert source.sites() == ["South"]
    assert source.cases("South")[0].image == folder / "scans" / "x" / "ct.nii.gz"
    prepare("pairs", folder, folder / "store", workers=1)
    assert {case.id for case in SiteStore.open(folder / "store", "South").manifest.cases} == {"x", "y"}


@pytest.mark.parametrize("line", ["x,South,train,a.nii.gz", "x,South,train,a.nii.gz,", "one,N,train,a.nii,b.nii"])
def test_a_table_that_lacks_a_path_or_repeats_a_case(tmp_path, line):
    (tmp_path / "cases.csv").write_text(f"case,site,split,image,label\none,N,train,a.nii,b.nii\n{line}\n")
    with pytest.raises(FlapSamError, match=r"cases\.csv has in line 3"):
        Pairs(tmp_path).sites()


def test_two_images_of_one_case(folder):
    write(folder / "images" / "one_0000.nii.gz", folder / "labels" / "one.nii.gz")
    with pytest.raises(FlapSamError, match=r"one\.nii\.gz and one_0000\.nii\.gz, which would both be the case one"):
        Pairs(folder).cases("North")


def test_missing_tables(tmp_path):
    with pytest.raises(FlapSamError, match=r"sites\.csv cannot be read"):
        Pairs(tmp_path).sites()
    with pytest.raises(FlapSamError, match=r"participants\.tsv cannot be read"):
        Bids(tmp_path).sites()


def test_bids(bids):
    source = Bids(bids)
    assert source.sites() == ["North", "South"]
    assert source.classes == ("class 1", "class 2")
    case = source.cases("South")[0]
    assert (case.id, case.image.name, case.label.name) == (
        "sub-02",
        "sub-02_FLAIR.nii.gz",
        "sub-02_FLAIR_dseg.nii.gz",
    )
    prepare("bids", bids, bids / "store", workers=1)
    assert SiteStore.open(bids / "store", "South").training_slices == 6


def test_bids_participant_with_no_or_two_images(bids):
    write(bids / "sub-02" / "anat" / "sub-02_T2w.nii.gz", bids / "unused.nii.gz")
    with pytest.raises(FlapSamError, match=r"sub-02/anat holds 2 files \*\.nii\.gz, expected exactly one"):
        Bids(bids).cases("South")
    (bids / "derivatives" / "labels" / "sub-01" / "anat" / "sub-01_T1w_dseg.nii.gz").unlink()
    with pytest.raises(FlapSamError, match=r"labels/sub-01/anat holds 0 files \*_dseg\.nii\.gz"):
        Bids(bids).cases("North")
