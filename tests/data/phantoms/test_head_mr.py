# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.phantoms.head_mr import HEAD_MR
from flap_sam.data.phantoms.scanner import PhantomSize
from flap_sam.data.sources.ixi import FED_IXI_TEST, Ixi
from flap_sam.data.volumes import read_pair

SIZE = PhantomSize(matrix=64)
REAL = {"Guys": (249, 62), "HH": (145, 36), "IOP": (59, 15)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("head")
    HEAD_MR.generate(folder, size=PhantomSize(matrix=32, slices=0.5))
    return folder


def test_sites_and_splits_are_fed_ixis_in_small(folder):
    source = Ixi(folder)
    assert source.sites() == list(HEAD_MR.scanners)
    for site, numbers in REAL.items():
        cases = source.cases(site)
        for split, number in zip(("train", "test"), numbers, strict=True):
            assert sum(case.split == split for case in cases) == pytest.approx(number / 12, abs=1)


def test_no_case_to_train_is_called_like_one_of_ixis():
    tests = {number for numbers in FED_IXI_TEST.values() for number in numbers}
    for site, cases in HEAD_MR.cases.items():
        numbers = [int(case[3:6]) for case in cases]
        assert all(number in tests or number > 662 for number in numbers)
        assert {number for number in numbers if number <= 662} <= set(FED_IXI_TEST[site])


def test_the_first_axis_runs_through_the_axial_slices():
    for scanner in HEAD_MR.scanners.values():
        assert scanner.axes[0] in "SI"


def test_a_brain_is_one_piece_in_the_middle_of_the_head_below_a_bright_scalp(folder):
    for case in Ixi(folder).cases("Guys")[:5]:
        volume, brain = read_pair(case.image, case.label, 1)
        head = volume.array > 0.35 * np.percentile(volume.array[brain > 0], 50)
        rows, columns = np.nonzero(brain.any(axis=0))
        head_rows, head_columns = np.nonzero(head.any(axis=0))
        assert head_columns.min() < columns.min() < columns.max() < head_columns.max()
        assert head_rows.min() <= rows.min() < rows.max() <= head_rows.max()
        assert brain[0].sum() < 0.15 * brain.sum(axis=(1, 2)).max(), "in the neck there is at most the stem"


@pytest.mark.parametrize("site", HEAD_MR.scanners)
def test_a_brain_has_a_brains_volume(site):
    for case in HEAD_MR.cases[site][:4]:
        _, label, affine = HEAD_MR.draw_case(site, case, size=SIZE)
        assert 800 < label.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000 < 1900, "ml"


def test_the_brain_is_darker_than_fat_and_brighter_than_fluid():
    image, label, _ = HEAD_MR.draw_case("HH", HEAD_MR.cases["HH"][0])
    brain = image[label > 0]
    assert np.percentile(image, 99) > 1.4 * np.median(brain)
    assert np.percentile(brain, 1) < 0.6 * np.median(brain), "its ventricles"
