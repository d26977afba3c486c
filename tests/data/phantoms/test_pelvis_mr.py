# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.phantoms.pelvis_mr import PELVIS_MR
from flap_sam.data.phantoms.scanner import PhantomSize
from flap_sam.data.sources.prostate import FOLDERS, TEST, Prostate
from flap_sam.data.volumes import read_pair

REAL = {"A": 30, "B": 30, "C": 19, "D": 13, "E": 12, "F": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pelvis")
    PELVIS_MR.generate(folder, size=PhantomSize(matrix=48))
    return folder


def test_sites_and_splits_are_the_data_sets_in_small(folder):
    source = Prostate(folder)
    assert source.sites() == list(PELVIS_MR.scanners)
    for site, scans in REAL.items():
        cases = source.cases(site)
        assert len(cases) == pytest.approx(scans / 2, abs=3)
        tests = {int(case.id[4:]) for case in cases if case.split == "test"}
        assert len(tests) >= 2
        assert tests <= set(TEST[site])
    assert (folder / FOLDERS["B"][0] / "Case00_Segmentation.nii.gz").is_file()


@pytest.mark.parametrize("site", PELVIS_MR.scanners)
def test_a_prostate_lies_in_the_middle_above_a_dark_rectum_and_has_its_volume(folder, site):
    for case in Prostate(folder).cases(site):
        volume, label = read_pair(case.image, case.label, 1, any_label=True)
        assert 15 < label.sum() * np.prod(volume.spacing) / 1000 < 150, "ml"
        _, rows, columns = (axis.mean() / size for axis, size in zip(np.nonzero(label), label.shape, strict=True))
        assert 0.35 < columns < 0.65
        assert 0.3 < rows < 0.65


def test_the_bladder_above_is_brighter_than_the_prostate(folder):
    for case in Prostate(folder).cases("A"):
        volume, label = read_pair(case.image, case.label, 1, any_label=True)
        above = volume.array[np.nonzero(label)[0].max() :]
        assert np.percentile(above, 99) > 1.2 * np.median(volume.array[label > 0])


def test_a_coil_in_the_rectum_brightens_what_lies_beside_it(folder):
    """The prostate against the muscles at the sides: brighter where there is a coil than where there is none."""
    contrast = {}
    for site, scanner in PELVIS_MR.scanners.items():
        ratios = []
        for case in Prostate(folder).cases(site):
            volume, label = read_pair(case.image, case.label, 1, any_label=True)
            image = volume.array
            ratios.append(np.median(image[label > 0]) / np.median(image[image > np.percentile(image, 30)]))
        contrast.setdefault(scanner.coil > 0, []).append(np.mean(ratios))
    assert sum(map(len, contrast.values())) == 6
    assert min(contrast[True]) > max(contrast[False])
