# SPDX-License-Identifier: Apache-2.0
import nibabel as nib
import numpy as np
import pytest
from flap_sam.data.phantoms.abdominal_ct import ABDOMINAL_CT, SLICES_DIVISOR, TRAIN_SLICES
from flap_sam.data.phantoms.scanner import PhantomSize
from flap_sam.data.sources.kits19 import FED_KITS19, case_files, case_id
from flap_sam.data.volumes import read_pair

SMALL = PhantomSize(matrix=48, slices=0.67)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    ABDOMINAL_CT.generate(folder, ["A", "B"], seed=3, size=SMALL)
    return folder


@pytest.fixture(scope="module")
def patients():
    """Every case at a small size: site, split, image, label."""
    return [
        (site, split, *ABDOMINAL_CT.draw_case(site, case_id(number), size=PhantomSize(matrix=64))[:2])
        for site, splits in FED_KITS19.items()
        for split, numbers in splits.items()
        for number in numbers
    ]


def test_layout_is_kits19s(folder):
    cases = sorted(path.name for path in (folder / "data").iterdir())
    numbers = [number for site in "AB" for split in FED_KITS19[site].values() for number in split]
    assert cases == sorted(f"case_{number:05d}" for number in numbers)
    image_path, label_path = case_files(folder, cases[0])
    image = nib.load(image_path)
    assert image.get_data_dtype() == np.int16
    assert nib.aff2axcodes(image.affine) == ("I", "P", "L")
    thickness, *pixels = image.header.get_zooms()
    np.testing.assert_allclose(
        image.affine, [[0, 0, -pixels[0], 0], [0, -pixels[0], 0, 0], [-thickness, 0, 0, 0], [0, 0, 0, 1]]
    )
    volume, label = read_pair(image_path, label_path, 2)
    assert label.shape[0] >= SMALL.minimum_slices
    assert volume.array.min() >= -1024


def test_slices_follow_fed_kits19(patients):
    slices = {site: sum(len(i) for s, split, i, _ in patients if (s, split) == (site, "train")) for site in FED_KITS19}
    assert 400 < sum(slices.values()) < 800
    for site in "BCDF":
        assert slices[site] == pytest.approx(TRAIN_SLICES[site] / SLICES_DIVISOR, rel=0.2)
    assert min(len(image) for *_, image, _ in patients) >= 4


def test_every_patient_has_two_kidneys_and_most_a_tumour(patients):
    for _, _, _, label in patients:
        middle = label.shape[2] // 2
        assert (label[:, :, : middle + 8] == 1).any()
        assert (label[:, :, middle - 8 :] == 1).any()
        assert 0.002 < (label > 0).mean() < 0.15
    assert 0.5 < np.mean([(label == 2).any() for *_, label in patients]) < 0.7


def test_sites_resemble_the_published_means_and_deviations(patients):
    published = {"A": (101, 62), "B": (111, 84), "C": (124, 97), "D": (71, 53), "E": (91, 61), "F": (105, 76)}
    for site, (mean, std) in published.items():
        values = np.concatenate(
            [image[label > 0] for s, split, image, label in patients if (s, split) == (site, "train")]
        )
        assert values.mean() == pytest.approx(mean, abs=20)
        assert values.std() == pytest.approx(std, rel=0.35)


def test_kidneys_are_brighter_than_their_tumours_and_brighter_than_fat():
    image, label, _ = next(
        drawn
        for case in ABDOMINAL_CT.cases["F"]
        if ((drawn := ABDOMINAL_CT.draw_case("F", case)).label == 2).sum() > 200
    )
    assert np.median(image[label == 1]) > np.median(image[label == 2]) + 20
    assert np.median(image[label == 2]) > 0
