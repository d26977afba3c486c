# SPDX-License-Identifier: Apache-2.0
import hashlib
import shutil

import numpy as np
import pytest
from flap_sam.data.intensity import SiteIntensity, VolumeIntensity
from flap_sam.data.store import ARRAYS, SiteStore, sites, write_case, write_manifest, written_case
from flap_sam.errors import FlapSamError, Reason

from tests.data.volumes import RECIPE, draft, make_store, manifest_of

CASES = {"one": ("train", (7, 5, 6)), "two": ("validation", (4, 8, 3)), "three": ("train", (2, 4, 4))}


@pytest.fixture
def store(tmp_path):
    make_store(tmp_path, "A", CASES)
    return tmp_path


def test_what_was_written_is_read(tmp_path):
    image = np.arange(24, dtype=np.uint16).reshape(2, 3, 4) * 2000
    label = (image % 3).astype(np.uint8)
    by_volume = VolumeIntensity(low_percentile=0.5, high_percentile=99.5)
    recipe = RECIPE.model_copy(update={"intensity": by_volume})
    case = write_case(tmp_path / "B" / ARRAYS, draft("x", "train", (2, 3, 4)), image[::-1], label, recipe)
    write_manifest(tmp_path, manifest_of("B", [case], recipe))
    opened = SiteStore.open(tmp_path, "B")
    assert opened.manifest == manifest_of("B", [case], recipe)
    assert opened.manifest.recipe == recipe
    np.testing.assert_array_equal(opened.image(case), image[::-1])
    np.testing.assert_array_equal(opened.label(case), label)
    assert isinstance(opened.image(case), np.memmap)
    assert not opened.image(case).flags.writeable
    assert sorted(path.name for path in (tmp_path / "B" / "arrays").iterdir()) == [
        "x.image.npy",
        "x.label.npy",
    ]


def test_splits_and_training_slices(store):
    opened = SiteStore.open(store, "A")
    assert [case.id for case in opened.cases("train")] == ["one", "three"]
    assert [case.id for case in opened.cases("validation")] == ["two"]
    assert opened.cases("test") == []
    assert opened.training_slices == 9


def test_checksums_are_those_of_the_files(store):
    case = SiteStore.open(store, "A").cases("train")[0]
    content = (store / "A" / "arrays" / "one.image.npy").read_bytes()
    assert case.image_sha256 == hashlib.sha256(content).hexdigest() != case.label_sha256


def test_sites_are_the_finished_ones_sorted(store):
    make_store(store, "0", CASES)
    write_case(store / "half" / ARRAYS, draft("x", "train", (1, 1, 1)), *np.zeros((2, 1, 1, 1)), RECIPE)
    assert sites(store) == ["0", "A"]
    assert sites(store / "nowhere") == []


def test_missing_store_and_missing_site(store):
    with pytest.raises(FlapSamError, match="nowhere does not exist") as caught:
        SiteStore.open(store / "nowhere", "A")
    assert caught.value.reason == Reason.STORE
    make_store(store, "F", CASES)
    with pytest.raises(FlapSamError, match="no site 'Z', it holds A, F"):
        SiteStore.open(store, "Z")
    with pytest.raises(FlapSamError, match=r"no site '\.\./A'"):
        SiteStore.open(store, "../A")


def test_site_without_training_case(tmp_path):
    with pytest.raises(FlapSamError, match="no training case") as caught:
        make_store(tmp_path, "A", {"one": ("test", (2, 2, 2))})
    assert caught.value.reason == Reason.STORE


def test_renamed_site_folder(store):
    shutil.copytree(store / "A", store / "B")
    with pytest.raises(FlapSamError, match="manifest of site 'A', expected 'B'"):
        SiteStore.open(store, "B")


@pytest.mark.parametrize("kind", ["image", "label"])
def test_arrays_are_checked_on_opening(store, kind):
    path = store / "A" / "arrays" / f"two.{kind}.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    with pytest.raises(FlapSamError, match=rf"two.{kind}\.npy cannot be read"):
        SiteStore.open(store, "A")
    np.save(path, np.zeros((4, 8, 4), np.uint16 if kind == "image" else np.uint8))
    with pytest.raises(FlapSamError, match=rf"two.{kind}\.npy holds .*\(4, 8, 4\), but the manifest .*\(4, 8, 3\)"):
        SiteStore.open(store, "A")
    np.save(path, np.zeros((4, 8, 3), np.float32))
    with pytest.raises(FlapSamError, match="holds float32"):
        SiteStore.open(store, "A")
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(FlapSamError, match="cannot be read"):
        SiteStore.open(store, "A")
    path.unlink()
    with pytest.raises(FlapSamError, match=rf"two.{kind}\.npy cannot be read"):
        SiteStore.open(store, "A")


def test_a_killed_writer_leaves_no_case(tmp_path, monkeypatch):
    """The second array fails half way: the case is not taken for written, and writing it again succeeds."""
    array = np.ones((2, 3, 4), np.uint16)
    case = draft("x", "train", (2, 3, 4))
    save, calls = np.save, []
    arrays = tmp_path / "A" / ARRAYS

    def dying(stream, array, **options):
        calls.append(stream.name)
        if len(calls) == 2:
            stream.write(b"\x93NUMPY")
            raise KeyboardInterrupt
        save(stream, array, **options)

    monkeypatch.setattr(np, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        write_case(arrays, case, array, array, RECIPE)
    assert written_case(arrays, "x", RECIPE) is None
    assert not (arrays / "x.label.npy").exists()
    assert sites(tmp_path) == []
    done = write_case(arrays, case, array, array, RECIPE)
    assert written_case(arrays, "x", RECIPE) == done
    assert not list(tmp_path.rglob("*.partial"))


def test_a_case_written_otherwise_is_not_taken_over(tmp_path):
    array = np.ones((2, 3, 4), np.uint16)
    write_case(tmp_path, draft("x", "train", (2, 3, 4)), array, array, RECIPE)
    assert written_case(tmp_path, "x", RECIPE) is not None
    assert written_case(tmp_path, "y", RECIPE) is None
    other = SiteIntensity(low=-90.0, high=300.0, mean=100.0, std=60.0)
    for change in ({"intensity": other}, {"minimum_side": 8}, {"any_label": True}, {"classes": ("kidney", "cyst")}):
        assert written_case(tmp_path, "x", RECIPE.model_copy(update=change)) is None
