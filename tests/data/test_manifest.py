# SPDX-License-Identifier: Apache-2.0
"""`manifest.json`: what it may say, and what its hash is of."""

import hashlib
import json

import pytest
from flap_sam.data.manifest import VERSION, Draft, OlderStoreError, SourceFile, read_manifest
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError, Reason

from tests.data.volumes import RECIPE, draft, make_store


@pytest.fixture
def store(tmp_path):
    make_store(tmp_path, "A", {"one": ("train", (7, 5, 6)), "two": ("validation", (4, 8, 3))})
    return tmp_path


def edit(store, change) -> None:
    path = store / "A" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


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
        (lambda m: m["cases"].append(3), r"cases\.2 is 3, expected"),
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


def test_a_recipe_names_the_first_setting_in_which_another_differs():
    assert RECIPE.first_difference(RECIPE.model_copy()) is None
    both = {"classes": ("kidney", "cyst"), "minimum_side": 64}
    assert RECIPE.first_difference(RECIPE.model_copy(update=both)) == "classes"


def test_the_recipe_of_a_manifest_is_the_one_that_it_was_made_with(store):
    manifest = read_manifest(store / "A" / "manifest.json")
    assert manifest.recipe == RECIPE
    assert type(manifest.recipe) is type(RECIPE)


def test_the_contents_of_a_case_are_its_files_hashes_in_their_order():
    files = [SourceFile(name="x", size=1, modified_ns=0, changed_ns=0, sha256=f"{k:064x}") for k in range(3)]
    made = dict(draft("x", "train", (2, 3, 4))) | {"image_files": (files[1], files[0]), "label_files": (files[2],)}
    assert Draft(**made).contents == ((f"{1:064x}", f"{0:064x}"), (f"{2:064x}",))
