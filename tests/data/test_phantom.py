# SPDX-License-Identifier: Apache-2.0
import hashlib
import time

import nibabel as nib
import numpy as np
import pytest
from flap_sam.data.geometry import read_pair
from flap_sam.data.sources.kits19 import FED_KITS19, case_files
from flap_sam.data.sources.phantom import TRAIN_SLICES, PhantomSize, draw_case, generate
from flap_sam.errors import FlapSamError

SMALL = PhantomSize(matrix=48, slices_divisor=60)


def digests(folder):
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.gz")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    generate(folder, ["A", "B"], seed=3, size=SMALL)
    return folder


@pytest.fixture(scope="module")
def patients():
    """Every case at a small size: site, split, image, label."""
    return [
        (site, split, *draw_case(site, number, 0, PhantomSize(matrix=64))[:2])
        for site, splits in FED_KITS19.items()
        for split, numbers in splits.items()
        for number in numbers
    ]


def test_same_seed_same_bytes_and_each_site_alone(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1e9)
    generate(tmp_path, ["B"], seed=3, size=SMALL)
    generate(tmp_path, ["A"], seed=3, size=SMALL)
    assert digests(tmp_path) == digests(folder)


def test_another_seed_draws_other_patients():
    image, other = (draw_case("A", 21, seed, SMALL)[0] for seed in (0, 1))
    assert image.shape != other.shape or not np.array_equal(image, other)


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


def test_what_is_there_is_left_alone_and_the_rest_made(folder, tmp_path):
    generate(tmp_path, ["A"], seed=3, size=SMALL)
    image, _label = case_files(tmp_path, "case_00021")
    other_image, _ = case_files(tmp_path, "case_00038")
    image.write_bytes(b"kept")
    other_image.unlink()
    generate(tmp_path, ["A"], seed=3, size=SMALL)
    assert image.read_bytes() == b"kept"
    assert other_image.read_bytes() == case_files(folder, "case_00038")[0].read_bytes()


def test_unknown_site_is_refused(tmp_path):
    with pytest.raises(FlapSamError, match="no site 'Z', expected one of A, B"):
        generate(tmp_path, ["Z"])


def test_slices_follow_fed_kits19(patients):
    slices = {site: sum(len(i) for s, split, i, _ in patients if (s, split) == (site, "train")) for site in FED_KITS19}
    assert 400 < sum(slices.values()) < 800
    for site in "BCDF":
        assert slices[site] == pytest.approx(TRAIN_SLICES[site] / PhantomSize().slices_divisor, rel=0.2)
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
        drawn for n in FED_KITS19["F"]["train"] if ((drawn := draw_case("F", n, 0, PhantomSize()))[1] == 2).sum() > 200
    )
    assert np.median(image[label == 1]) > np.median(image[label == 2]) + 20
    assert np.median(image[label == 2]) > 0
