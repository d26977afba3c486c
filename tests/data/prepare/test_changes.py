# SPDX-License-Identifier: Apache-2.0
"""A store follows its source: whatever changes there, the store is then what a new preparation would make."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from flap_sam.commands.tables.preparation import outcome_text
from flap_sam.data import prepare as module
from flap_sam.data.doctor import examine_store
from flap_sam.data.manifest import VERSION, read_manifest
from flap_sam.data.phantoms.abdominal_ct import ABDOMINAL_CT
from flap_sam.data.phantoms.scanner import PhantomSize
from flap_sam.data.prepare import SiteOutcome, prepare
from flap_sam.data.sources.kits19 import case_files
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import sha256
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.pairs_site import NAMES, Site
from tests.data.volumes import save


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def content(store: Path) -> dict[str, object]:
    """All that a store says but for its revision, and its arrays."""
    told = json.loads((store / "A" / "manifest.json").read_text())
    told.pop("revision")
    arrays = sorted((store / "A" / "arrays").iterdir())
    return {"manifest": told, **{path.name: path.read_bytes() for path in arrays}}


CHANGES = st.one_of(
    st.tuples(st.just("correct"), st.sampled_from(("images", "labels")), st.sampled_from(NAMES), st.booleans()),
    st.tuples(st.just("touch"), st.sampled_from(NAMES)),
    st.tuples(st.just("add"), st.sampled_from(NAMES), st.sampled_from(("train", "test"))),
    st.tuples(st.just("remove"), st.sampled_from(NAMES)),
    st.tuples(st.just("classes"), st.sampled_from(("organ", "gland")), st.just("lesion")),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.lists(CHANGES, max_size=3), min_size=1, max_size=3))
def test_whatever_changes_the_store_is_what_a_new_preparation_makes(tmp_path_factory, steps):
    site = Site(tmp_path_factory.mktemp("site"))
    manifest, fresh = site.store / "A" / "manifest.json", site.store.with_name("fresh")
    site.prepare()
    for changes in steps:
        before = read_manifest(manifest)
        was = {case.id: case.contents for case in before.cases}
        for name, *arguments in changes:
            getattr(site, name)(*arguments)
        found = site.prepare().found
        shutil.rmtree(fresh, ignore_errors=True)
        site.prepare(fresh)
        assert content(site.store) == content(fresh)
        now = {name: tuple((sha256(site.file(kind, name)),) for kind in ("images", "labels")) for name in site.splits}
        both, renamed = now.keys() & was.keys(), before.classes != read_manifest(manifest).classes
        assert set(found.added) == now.keys() - was.keys()
        assert set(found.removed) == was.keys() - now.keys()
        assert found.changed.keys() == {name for name in both if renamed or was[name] != now[name]}
        assert set(found.kept) == both - found.changed.keys()


def test_a_corrected_label_that_keeps_size_and_time_is_found_and_only_it_is_made_again(site):
    site.prepare()
    before = {path.name: path.stat().st_mtime_ns for path in (site.store / "A" / "arrays").iterdir()}
    site.correct("labels", "b", keep_time=True)
    outcome = site.prepare()
    assert outcome.found.changed == {"b": "its label map changed"}
    after = {path.name: path.stat().st_mtime_ns for path in (site.store / "A" / "arrays").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"b.image.npy", "b.label.npy"}
    text = outcome_text(outcome)
    assert "3 kept" in text
    assert "redone 1 (b): its label map changed" in text


def test_an_image_is_not_hashed_while_its_size_and_times_stay(site, monkeypatch):
    site.prepare()
    hashed = []
    monkeypatch.setattr("flap_sam.data.stamps.sha256", lambda path: hashed.append(path) or sha256(path))
    assert site.prepare().found.is_none
    assert set(hashed) == {site.file("labels", name) for name in site.splits}
    hashed.clear()
    site.touch("a")
    assert site.prepare().found.is_none
    assert site.file("images", "a") in hashed
    hashed.clear()
    site.prepare()
    assert site.file("images", "a") not in hashed, "its new times are known now"


def test_one_training_case_changes_the_table_and_so_the_codes_of_all(tmp_path):
    """KiTS19 clips by percentiles over all training cases of a site, but not over its test cases."""
    raw, store = tmp_path / "raw", tmp_path / "store"
    ABDOMINAL_CT.generate(raw, ["A"], size=PhantomSize(matrix=24, slices=0.2))

    def brighter(case: str) -> None:
        path = case_files(raw, case)[0]
        scan = nib.load(path)
        save(path, np.asarray(scan.dataobj) + np.int16(90), scan.affine)

    def outcome() -> SiteOutcome:
        told = []
        prepare("kits19", raw, store, ["A"], workers=1, done=told.append)
        return told[0]

    outcome()
    brighter("case_00181")
    assert outcome().found.changed == {"case_00181": "its image changed"}, "a test case"
    brighter("case_00021")
    assert set(outcome().found.changed.values()) == {"the site's intensities changed"}
    prepare("kits19", raw, tmp_path / "fresh", ["A"], workers=1)
    assert content(store) == content(tmp_path / "fresh")


def test_damaged_and_missing_arrays_are_made_again(site):
    site.prepare()
    fresh = content(site.store)
    arrays = site.store / "A" / "arrays"
    (arrays / "a.image.npy").unlink()
    (arrays / "b.label.npy").write_bytes(b"damaged")
    assert site.prepare().found.changed == dict.fromkeys("ab", "its arrays were damaged")
    assert content(site.store) == fresh


def test_a_store_of_an_older_version_is_made_again_and_that_is_said(site):
    site.prepare()
    fresh, path = content(site.store), site.store / "A" / "manifest.json"
    path.write_text(json.dumps({"version": VERSION - 1, "source": "pairs"}))
    (site.store / "A" / "arrays" / "left.image.npy").touch()
    assert "written by an older flap-sam" in outcome_text(site.prepare())
    assert content(site.store) == fresh


def test_a_file_that_changes_while_it_is_read_stops_the_site(site, monkeypatch):
    read = module.read_pair

    def reading(image, *rest):
        site.write("labels", "b")
        return read(image, *rest)

    monkeypatch.setattr(module, "read_pair", reading)
    with pytest.raises(FlapSamError, match=r"b\.nii\.gz was changed while it was read"):
        site.prepare()
    monkeypatch.undo()
    site.prepare()
    site.prepare(site.store.with_name("fresh"))
    assert content(site.store) == content(site.store.with_name("fresh"))


class Killed(BaseException):
    """What ends a process at once."""


def killing(monkeypatch, at: int) -> None:
    """Every change of the disk counts; the one with this number is not made, nor any after it."""
    made: list[str] = []

    def counted(change):
        def call(*args, **options):
            if len(made) >= at:
                raise Killed
            made.append(change.__name__)
            return change(*args, **options)

        return call

    for owner, name in ((Path, "replace"), (Path, "unlink"), (Path, "rmdir"), (shutil, "rmtree"), (np, "save")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))


def test_killed_at_any_moment_the_store_is_the_old_or_the_new_one(tmp_path):
    """A label corrected, a case added, one removed: killed at every change of the disk in turn."""
    site = Site(tmp_path / "site")
    site.prepare()
    old = content(site.store)["manifest"]
    shutil.copytree(site.store, tmp_path / "old")
    site.correct("labels", "a", keep_time=True)
    site.add("e", "test")
    site.remove("b")
    site.prepare(tmp_path / "fresh")
    new, seen, done = content(tmp_path / "fresh"), [], False
    while not done:
        shutil.rmtree(site.store)
        shutil.copytree(tmp_path / "old", site.store)
        with pytest.MonkeyPatch.context() as patch:
            killing(patch, len(seen))
            try:
                site.prepare()
                done = True
            except Killed:
                pass
        opened = SiteStore.open(site.store, "A")
        told = json.loads(opened.manifest.to_json())
        told.pop("revision")
        assert told in (old, new["manifest"])
        seen.append(told == new["manifest"])
        for case in opened.manifest.cases:
            for kind in ("image", "label"):
                assert sha256(opened.path(case, kind)) == getattr(case, f"{kind}_sha256")
        assert not examine_store(site.store).failed
        site.prepare()
        assert content(site.store) == new
        assert sorted(path.name for path in (site.store / "A").iterdir()) == ["arrays", "manifest.json"]
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (False, True)
    assert len(seen) > 10
