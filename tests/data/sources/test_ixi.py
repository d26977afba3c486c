# SPDX-License-Identifier: Apache-2.0
import nibabel as nib
import numpy as np
import pytest
from flap_sam.data.geometry import to_original
from flap_sam.data.prepare import prepare
from flap_sam.data.sources.ixi import FED_IXI_TEST, Ixi
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError

from tests.data.volumes import save

CASES = ("IXI002-Guys-0828", "IXI016-Guys-0697", "IXI012-HH-1211", "IXI013-HH-1212", "IXI231-IOP-0866")
LAYOUTS = {
    "ixi_tiny": "image/{0}_image.nii.gz label/{0}_label.nii.gz",
    "IXI_sample": "{0}/T1/{0}_image.nii.gz {0}/label/{0}_label.nii.gz",
}
AFFINE = np.array(((0, 0, 3.95, -90), (0, 4.13, 0, -126), (-2.18, 0, 0, 72), (0, 0, 0, 1)))  # slices, rows, columns


def write(folder, layout, case, affine=AFFINE):
    rng = np.random.default_rng(int(case[3:6]))
    image, label = (folder / path for path in LAYOUTS[layout].format(case).split())
    save(image, rng.integers(0, 900, (83, 44, 55)).astype(np.int16), affine)
    save(label, rng.integers(0, 2, (83, 44, 55), np.uint8), affine)


@pytest.fixture(params=LAYOUTS)
def folder(request, tmp_path):
    for case in CASES:
        write(tmp_path / request.param, request.param, case)
    return tmp_path / request.param


def test_fed_ixi_has_its_official_numbers_of_test_cases():
    assert {site: len(set(test)) for site, test in FED_IXI_TEST.items()} == {"Guys": 62, "HH": 36, "IOP": 15}
    assert len({number for test in FED_IXI_TEST.values() for number in test}) == 113


def test_both_layouts_and_the_folder_above(folder):
    for source in (Ixi(folder), Ixi(folder.parent)):
        assert (source.sites(), source.classes) == (["Guys", "HH", "IOP"], ("brain",))
        assert [(case.id, case.split) for case in source.cases("Guys")] == [(CASES[0], "test"), (CASES[1], "train")]
        assert [(case.id, case.split) for case in source.cases("HH")] == [(CASES[2], "test"), (CASES[3], "train")]
        assert [case.split for case in source.cases("IOP")] == ["test"]


def test_own_split_says_alone_which_cases_are_used(folder):
    (folder / "split.csv").write_text(f"case,split\n{CASES[0]},train\n{CASES[4]},train\n")
    assert [(case.id, case.split) for case in Ixi(folder).cases("Guys")] == [(CASES[0], "train")]
    (folder / "split.csv").write_text("case,split\nIXI999-Guys-0001,train\n")
    with pytest.raises(FlapSamError, match=r"split\.csv lists the case IXI999-Guys-0001, which is not below"):
        Ixi(folder).cases("Guys")
    (folder / "split.csv").write_text(f"case,split\n{CASES[0]},validation\n")
    with pytest.raises(FlapSamError, match=r"split\.csv has in line 2"):
        Ixi(folder).cases("Guys")


def test_scans_are_padded_to_83_64_64_and_back(folder, tmp_path):
    prepare("ixi", folder, tmp_path / "store", ["Guys"], workers=1)
    opened = SiteStore.open(tmp_path / "store", "Guys")
    assert opened.manifest.minimum_side == 64
    for case in opened.manifest.cases:
        assert (case.shape, case.original_shape) == ((83, 64, 64), (83, 44, 55))
        image_path, label_path = next((c.image, c.label) for c in Ixi(folder).cases("Guys") if c.id == case.id)
        original = np.asanyarray(nib.load(image_path).dataobj)
        assert (case.minimum, case.maximum) == (original.min(), original.max())
        codes = to_original(opened.image(case), case.affine, case.original_shape)
        np.testing.assert_allclose(codes / 65535 * np.ptp(original) + original.min(), original, atol=0.02)
        labels = to_original(opened.label(case), case.affine, case.original_shape)
        np.testing.assert_array_equal(labels, np.asanyarray(nib.load(label_path).dataobj))
        assert opened.label(case).sum() == labels.sum()


def test_slices_follow_the_affine_not_the_array(tmp_path):
    for case in CASES[:2]:
        write(tmp_path, "ixi_tiny", case, np.diag((2.18, 4.13, 3.95, 1)))
    prepare("ixi", tmp_path, tmp_path / "store", ["Guys"], workers=1)
    assert {case.shape for case in SiteStore.open(tmp_path / "store", "Guys").manifest.cases} == {(55, 64, 83)}


def test_no_scan_another_name_and_two_copies(folder, tmp_path):
    with pytest.raises(FlapSamError, match="has no scan of site IOP"):
        Ixi(tmp_path / "nowhere").cases("IOP")
    write(folder.parent / "ixi_tiny", "ixi_tiny", CASES[0])
    write(folder.parent / "IXI_sample", "IXI_sample", CASES[0])
    with pytest.raises(FlapSamError, match=r"and .* would both be the case IXI002-Guys-0828 of site Guys"):
        Ixi(folder.parent).cases("Guys")
    write(folder, folder.name, "IXI003-Barts-0001")
    with pytest.raises(FlapSamError, match=r"IXI003-Barts-0001_image\.nii\.gz has another name than IXI scans"):
        Ixi(folder).cases("Guys")


def test_missing_mask(folder):
    next(folder.rglob("IXI016*_label.nii.gz")).unlink()
    with pytest.raises(FlapSamError, match=r"IXI016-Guys-0697_label\.nii\.gz of case IXI016.* does not exist"):
        Ixi(folder).cases("Guys")
