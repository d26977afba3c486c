import hashlib
import json
import shutil

import numpy as np
import pytest
from flap_sam.data.intensity import SiteIntensity, VolumeIntensity
from flap_sam.data.manifest import Manifest, read_manifest
from flap_sam.data.store import SiteStore, sites, write_case, write_manifest, written_case
from flap_sam.errors import FlapSamError

from tests.data.volumes import INTENSITY, draft, make_store

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
    case = write_case(tmp_path / "B", draft("x", "train", (2, 3, 4)), image[::-1], label, INTENSITY)
    write_manifest(tmp_path, Manifest("kits19", "B", ("kidney",), VolumeIntensity(0.5, 99.5), (case,)))
    opened = SiteStore.open(tmp_path, "B")
    assert opened.manifest == Manifest("kits19", "B", ("kidney",), VolumeIntensity(0.5, 99.5), (case,))
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
    write_case(store / "half", draft("x", "train", (1, 1, 1)), np.zeros((1, 1, 1)), np.zeros((1, 1, 1)), INTENSITY)
    assert sites(store) == ["0", "A"]
    assert sites(store / "nowhere") == []


def test_missing_store_and_missing_site(store):
    with pytest.raises(FlapSamError, match="nowhere does not exist") as caught:
        SiteStore.open(store / "nowhere", "A")
    assert str(store) not in caught.value.public
    make_store(store, "F", CASES)
    with pytest.raises(FlapSamError, match="no site 'Z', it holds A, F"):
        SiteStore.open(store, "Z")
    with pytest.raises(FlapSamError, match=r"no site '\.\./A'"):
        SiteStore.open(store, "../A")


def test_site_without_training_case(tmp_path):
    with pytest.raises(FlapSamError, match="no training case") as caught:
        make_store(tmp_path, "A", {"one": ("test", (2, 2, 2))})
    assert caught.value.public == "the site has no training case"


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
        (lambda m: m.update(version=1), "format version is 1, expected 2"),
        (lambda m: m.update(minimum_side=1.5), "minimum_side is 1.5, expected a whole number"),
        (lambda m: m.pop("version"), "format version is None"),
        (lambda m: m.update(colour="red"), "unknown key colour"),
        (lambda m: m.pop("classes"), "lacks classes"),
        (lambda m: m.update(classes=[]), "expected a list of class names"),
        (lambda m: m.update(classes="kidney"), "expected a list of class names"),
        (lambda m: m.update(site=7), "site is 7"),
        (lambda m: m.update(cases={}), "cases is {}, expected a list"),
        (lambda m: m["cases"].append(m["cases"][0]), "listed twice"),
        (lambda m: m["cases"].append(3), "found 3, expected a Case"),
        (lambda m: m["cases"][0].update(id="../../etc/passwd"), "id is '../../etc/passwd'"),
        (lambda m: m["cases"][0].update(split="training"), "split is 'training', expected one of train"),
        (lambda m: m["cases"][0].update(shape=[7, 5]), "shape is .*expected 3"),
        (lambda m: m["cases"][0].update(shape=[7, 5, 1.5]), "expected 3 whole numbers"),
        (lambda m: m["cases"][0].update(shape=[7, 5, True]), "shape is True"),
        (lambda m: m["cases"][0].update(minimum="low"), "minimum is 'low', expected a number"),
        (lambda m: m["cases"][0].update(maximum=float("nan")), "maximum is nan"),
        (lambda m: m["cases"][0].update(affine=[[1, 0, 0, 0]]), "expected 4 rows"),
        (lambda m: m["cases"][0]["affine"].__setitem__(2, [0, 0, 1]), "affine row is .*expected 4"),
        (lambda m: m["cases"][0].pop("label_sha256"), "Case one lacks label_sha256"),
        (lambda m: m["intensity"].pop("low"), "SiteIntensity  ?lacks low"),
        (lambda m: m.update(intensity="volume"), "expected a SiteIntensity"),
    ],
)
def test_broken_manifests_are_refused_in_a_sentence(store, change, sentence):
    edit(store, change)
    with pytest.raises(FlapSamError, match=rf"manifest\.json is not a readable manifest: .*{sentence}") as caught:
        SiteStore.open(store, "A")
    assert str(store) not in caught.value.public


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

    def dying(stream, array, **options):
        calls.append(stream.name)
        if len(calls) == 2:
            stream.write(b"\x93NUMPY")
            raise KeyboardInterrupt
        save(stream, array, **options)

    monkeypatch.setattr(np, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        write_case(tmp_path / "A", case, array, array, INTENSITY)
    assert written_case(tmp_path / "A", "x", "train", INTENSITY) is None
    assert not (tmp_path / "A" / "arrays" / "x.label.npy").exists()
    assert sites(tmp_path) == []
    done = write_case(tmp_path / "A", case, array, array, INTENSITY)
    assert written_case(tmp_path / "A", "x", "train", INTENSITY) == done
    assert not list(tmp_path.rglob("*.partial"))


def test_a_case_written_otherwise_is_not_taken_over(tmp_path):
    array = np.ones((2, 3, 4), np.uint16)
    write_case(tmp_path / "A", draft("x", "train", (2, 3, 4)), array, array, INTENSITY)
    other = SiteIntensity(low=-90.0, high=300.0, mean=100.0, std=60.0)
    assert written_case(tmp_path / "A", "x", "train", INTENSITY) is not None
    assert written_case(tmp_path / "A", "x", "test", INTENSITY) is None
    assert written_case(tmp_path / "A", "x", "train", other) is None
