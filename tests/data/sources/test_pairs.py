# SPDX-License-Identifier: Apache-2.0
"""Your own data in pairs of files."""

import pytest
from flap_sam.data.prepare import prepare
from flap_sam.data.sources.pairs import Pairs
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError

from tests.data.volumes import save_pair

SITES = "case,site,split\none,North,train\ntwo,North,test\n"


@pytest.fixture
def folder(tmp_path):
    save_pair(tmp_path / "images" / "one.nii.gz", tmp_path / "labels" / "one.nii.gz")
    save_pair(tmp_path / "images" / "two_0000.nii.gz", tmp_path / "labels" / "two.nii.gz", highest=1)
    (tmp_path / "sites.csv").write_text(SITES)
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


def test_a_table_of_paths(folder):
    save_pair(folder / "scans" / "x" / "ct.nii.gz", folder / "masks" / "x.nii")
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
    save_pair(folder / "images" / "one_0000.nii.gz", folder / "labels" / "one.nii.gz")
    with pytest.raises(FlapSamError, match=r"one\.nii\.gz and one_0000\.nii\.gz, which would both be the case one"):
        Pairs(folder).cases("North")


def test_a_missing_table(tmp_path):
    with pytest.raises(FlapSamError, match=r"sites\.csv cannot be read"):
        Pairs(tmp_path).sites()
