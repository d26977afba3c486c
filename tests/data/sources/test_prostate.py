# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.prepare import prepare
from flap_sam.data.sources.prostate import FOLDERS, TEST, Prostate
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError

from tests.data.volumes import save

SHAPE = (9, 8, 4)


def write(folder, number, ending="_segmentation"):
    rng = np.random.default_rng(number)
    save(folder / f"Case{number:02d}.nii.gz", rng.exponential(200, SHAPE).astype(np.float32))
    save(folder / f"Case{number:02d}{ending}.nii.gz", rng.integers(0, 3, SHAPE).astype(np.uint8) * 100)


@pytest.mark.parametrize(("site", "name"), [(site, name) for site, names in FOLDERS.items() for name in names])
def test_folder_names_and_splits(tmp_path, site, name):
    numbers = {"D": range(40), "F": range(38, 50)}.get(site, range(30))
    for number in numbers:
        for ending in ("", "_Segmentation" if site == "B" else "_segmentation"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"Case{number:02d}{ending}.nii.gz").touch()
    source = Prostate(tmp_path)
    cases = source.cases(site)
    assert source.sites() == list("ABCDEF")
    assert [case.id for case in cases] == [f"Case{number:02d}" for number in numbers]
    assert tuple(int(case.id[4:]) for case in cases if case.split == "test") == TEST[site]
    assert {case.split for case in cases} == {"train", "test"}


def test_any_label_is_prostate_and_the_brightest_hundredth_is_clipped(tmp_path):
    for number in (0, 1, 3):
        write(tmp_path / "ISBI_1.5", number, "_Segmentation")
    prepare("prostate", tmp_path, tmp_path / "store", ["B"], workers=1)
    opened = SiteStore.open(tmp_path / "store", "B")
    assert opened.manifest.classes == ("prostate",)
    for case in opened.manifest.cases:
        assert case.shape == (4, 8, 9)
        assert set(np.unique(opened.label(case))) == {0, 1}
        rng = np.random.default_rng(int(case.id[4:]))
        image = rng.exponential(200, SHAPE).astype(np.float32)
        assert case.maximum == pytest.approx(np.percentile(image, 99))
        assert case.minimum == pytest.approx(image.min())
        assert opened.label(case).mean() == pytest.approx((rng.integers(0, 3, SHAPE) > 0).mean())


def test_missing_folder_case_and_mask(tmp_path):
    with pytest.raises(FlapSamError, match="has no folder RUNMC or ISBI, which holds site A"):
        Prostate(tmp_path).cases("A")
    (tmp_path / "HK").mkdir()
    with pytest.raises(FlapSamError, match=r"HK holds no file such as Case00\.nii\.gz"):
        Prostate(tmp_path).cases("F")
    write(tmp_path / "HK", 38)
    (tmp_path / "HK" / "Case38_segmentation.nii.gz").unlink()
    with pytest.raises(FlapSamError, match=r"Case38_segmentation\.nii\.gz of case Case38, site F, does not exist"):
        Prostate(tmp_path).cases("F")
