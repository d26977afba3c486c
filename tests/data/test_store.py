# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import shutil

import numpy as np
import pytest
from flap_sam.data.intensity import SiteIntensity, VolumeIntensity
from flap_sam.data.manifest import VERSION, OlderStoreError, read_manifest
from flap_sam.data.store import ARRAYS, SiteStore, sites, write_case, write_manifest, written_case
from flap_sam.errors import FlapSamError, Reason

from tests.data.volumes import RECIPE, draft, make_store, manifest_of

CASES = {"one": ("train", (7, 5, 6)), "two": ("validation", (4, 8, 3)), "three": ("train", (2, 4, 4))}


@pytest.fixture
def store(tmp_path):
    make_store(tmp_path, "A", CASES)
    return tmp_path


def edit(store, change) -> None:
    path = store / "A" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


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


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.update(minimum_side=1.5), "minimum_side is 1.5, expected a whole number"),
        (lambda m: m.update(minimum_side=-1), "minimum_side is -1, expected greater than or equal to 0"),
        (lambda m: m.update(version="3"), "version is '3', expected 3"),
        (lambda m: m.update(version=None), "version is None, expected 3"),
        (lambda m: m.update(colour="red"), "colour is unknown"),
        (lambda m: m.pop("classes"), "classes is missing"),
        (lambda m: m.update(classes=[]), "classes is \\[\\], expected 1 or more"),
        (lambda m: m.update(classes=["c"] * 256), "classes is .*at most 255 items"),
        (lambda m: m.update(classes="kidney"), "classes is 'kidney', expected a list"),
        (lambda m: m.update(site=7), "site is 7"),
        (lambda m: m.update(revision=0), "revision is 0, expected greater than 0"),
        (lambda m: m.update(cases={}), "cases is {}, expected a list"),
        (lambda m: m["cases"].append(m["cases"][0]), "every case once; one is listed twice"),
        (lambda m: m["cases"].append(3), r"cases\.3 is 3, expected"),
        (lambda m: m["cases"][0].update(id="../../etc/passwd"), r"cases\.0\.id is '../../etc/passwd', expected a name"),
        (lambda m: m["cases"][0].update(split="training"), "split is 'training', expected 'train', 'validation' or"),
        (lambda m: m["cases"][0].update(shape=[7, 5]), r"shape\.2 is missing"),
        (lambda m: m["cases"][0].update(shape=[7, 5, 1.5]), r"shape\.2 is 1.5, expected a whole number"),
        (lambda m: m["cases"][0].update(shape=[7, 5, True]), r"shape\.2 is True"),
        (lambda m: m["cases"][0].update(shape=[7, 5, 0]), r"shape\.2 is 0, expected greater than 0"),
        (lambda m: m["cases"][0].update(spacing=[1, 1, 0.0]), r"spacing\.2 is 0.0, expected greater than 0"),
        (lambda m: m["cases"][0].update(minimum="low"), "minimum is 'low', expected a number"),
        (lambda m: m["cases"][0].update(maximum=float("nan")), "maximum is nan"),
        (lambda m: m["cases"][0].update(affine=[[1, 0, 0, 0]]), r"affine\.1 is missing"),
        (lambda m: m["cases"][0]["affine"].__setitem__(2, [0, 0, 1]), r"affine\.2\.3 is missing"),
        (lambda m: m["cases"][0].pop("label_sha256"), r"cases\.0\.label_sha256 is missing"),
        (lambda m: m["cases"][0].update(label_sha256="ab"), r"cases\.0\.label_sha256 is 'ab', expected match pattern"),
        (lambda m: m["cases"][0].update(image_files=[{"name": "a"}]), r"image_files\.0\.size is missing"),
        (lambda m: m["intensity"].pop("low"), r"intensity\.site\.low is missing"),
        (lambda m: m["intensity"].update(low=400.0), r"expected low 400 to be at most high 300"),
        (
            lambda m: m.update(intensity={"low_percentile": 1, "high_percentile": 101}),
            "high_percentile is 101, expected",
        ),
        (lambda m: m.update(intensity="volume"), "intensity.* is 'volume', expected"),
    ],
)
def test_broken_manifests_are_refused_in_a_sentence(store, change, sentence):
    edit(store, change)
    with pytest.raises(FlapSamError, match=rf"manifest\.json is not a readable manifest: .*{sentence}") as caught:
        SiteStore.open(store, "A")
    assert caught.value.reason == Reason.STORE


def test_another_version_is_refused_with_what_to_do(store):
    edit(store, lambda m: [m.pop("revision"), m.update(version=VERSION - 1)])
    command = rf"run `flap-sam prepare kits19 --source DIR --out {store} --site A`"
    with pytest.raises(
        OlderStoreError, match=rf"is of version 2 of its format, .* reads version 3: an older .* wrote it; {command}"
    ) as caught:
        SiteStore.open(store, "A")
    assert caught.value.reason == Reason.STORE
    edit(store, lambda m: m.update(version=VERSION + 1))
    with pytest.raises(FlapSamError, match=r"is of version 4 .* reads version 3: update flap-sam"):
        SiteStore.open(store, "A")


def test_the_hash_of_the_content_is_that_of_version_2(store):
    """Recorded comparisons name their data by it; an independent form of the manifest as it was written then."""
    manifest = SiteStore.open(store, "A").manifest
    told = json.loads(manifest.to_json())
    cases = [
        {k: v for k, v in case.items() if k not in ("notes", "image_files", "label_files")} for case in told["cases"]
    ]
    old = {k: told[k] for k in ("source", "site", "classes", "intensity")} | {
        "cases": cases,
        "minimum_side": 0,
        "version": 2,
    }
    assert manifest.content_sha256 == hashlib.sha256((json.dumps(old, indent=1) + "\n").encode()).hexdigest()
    assert list(cases[0]) == [
        *("id", "split", "shape", "spacing", "affine", "original_shape", "minimum", "maximum"),
        *("image_sha256", "label_sha256"),
    ]
    assert manifest.model_copy(update={"revision": 7}).content_sha256 == manifest.content_sha256
    assert manifest.model_copy(update={"site": "B"}).content_sha256 != manifest.content_sha256


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_manifest_that_is_no_json_object(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(FlapSamError, match="not a readable manifest"):
        read_manifest(tmp_path / "manifest.json")


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
