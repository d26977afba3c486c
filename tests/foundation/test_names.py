# SPDX-License-Identifier: Apache-2.0
"""A name from a job, a server or a file never leads out of the folder that it is meant to lie in."""

import json
import os
from pathlib import Path

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.config.site import Site
from flap_sam.data.demo import demo_sites, demo_store
from flap_sam.data.manifest import read_manifest
from flap_sam.data.sources.source import SourceCase, checked
from flap_sam.data.sources.tables import COLUMNS, read_table
from flap_sam.data.store import MANIFEST, SiteStore
from flap_sam.errors import FlapSamError
from flap_sam.foundation.names import is_name, is_run_name
from flap_sam.rounds.run_state import LATEST, RunStore, find
from flap_sam.training.participant import assign
from flap_sam.wire.messages import run_name
from hypothesis import given
from hypothesis import strategies as st

HOSTILE = ["../x", "/tmp/x", "..", ".", "", "a/b", "a/../../x", ".hidden", "~", "a\0b", "a\n", "\\x", "-x/", " "]
NO_RUNS = [*HOSTILE, "A", "a.b", "a_b", "a b", "ä", "-a", "a" * 65, 3, None, ["a"]]


def _manifest_of(field: str):
    def read(name: object, store: Path) -> object:
        path = store / "A" / MANIFEST
        content = json.loads(path.read_text())
        (content if field == "site" else content["cases"][0])[field] = name
        path.write_text(json.dumps(content))
        return read_manifest(path)

    return read


def _listed(name: str, store: Path) -> object:
    (store / "sites.csv").write_text(f'case,site,split\n"{name}",A,train\n')
    return read_table(store / "sites.csv", COLUMNS)


RUNS = {
    "the server's task": lambda name, _: run_name(name),
    "a state": lambda name, store: RunStore(store, name),
    "a run to resume": lambda name, store: find(store, name, Experiment(), print),
}
PLACES = {
    "a site of the store": lambda name, store: SiteStore.open(store, name),
    "the site's own settings": lambda name, _: Site.from_plain({"name": name or "."}),
    "a site in the federation": lambda name, store: assign(Site(data=store), name, None),
    "a site in a manifest": _manifest_of("site"),
    "a case in a manifest": _manifest_of("id"),
    "a case in a table": _listed,
    "a case of a layout": lambda name, store: checked([SourceCase(name, "train", store, store)], "A"),
    "the job's demo": lambda name, _: demo_sites(name),
    "the job's demo, at a site": lambda name, _: demo_store(name, lambda sites: sites[0]),
    "the demo's site": lambda name, _: demo_store("phantom", lambda _: name),
}


@pytest.fixture
def tree(store, tmp_path, monkeypatch):
    """A store, and beside it what a hostile name would reach."""
    monkeypatch.setenv("FLAP_SAM_CACHE", str(tmp_path / "cache"))
    for folder in (tmp_path / "x", tmp_path / "server", store / "x"):
        folder.mkdir()
        (folder / "round_00001.safetensors").write_bytes(b"")
    return store


def _all_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("name", NO_RUNS, ids=repr)
@pytest.mark.parametrize("place", RUNS)
def test_what_is_no_name_of_a_run_is_refused(tree, tmp_path, place, name):
    before = _all_below(tmp_path)
    with pytest.raises(FlapSamError, match="small letters, digits and dashes"):
        RUNS[place](name, tree)
    assert _all_below(tmp_path) == before


@pytest.mark.parametrize("name", [name for name in NO_RUNS if name is not None], ids=repr)
def test_a_job_cannot_resume_it(name):
    with pytest.raises(FlapSamError, match=r"policy's resume is .* expected the name of a run"):
        RunPolicy(resume=name)


@pytest.mark.parametrize(
    "name", [*(f"{name}.safetensors" for name in HOSTILE), "payload", "payload.pth", 3, ["a"]], ids=repr
)
def test_a_job_cannot_start_from_it(name):
    with pytest.raises(FlapSamError, match=r"policy's start is .* expected the name of a .safetensors file"):
        RunPolicy(start=name)


TRIMMED = "a case in a table"  # blanks and line breaks around a value are no part of it there


@pytest.mark.parametrize(
    ("place", "name"), [(p, name) for p in PLACES for name in HOSTILE if p != TRIMMED or not is_name(name.strip())]
)
def test_what_is_no_name_of_a_site_case_or_demo_is_refused(tree, tmp_path, place, name):
    before = _all_below(tmp_path)
    with pytest.raises(FlapSamError):
        PLACES[place](name, tree)
    assert _all_below(tmp_path) - before <= {tree / "sites.csv", tmp_path / "cache"}


@given(name=st.one_of(st.text(max_size=8), st.sampled_from(HOSTILE), st.from_regex(r"\A[\w. /-]{1,8}\Z")))
def test_a_name_is_one_folder_below_another(name):
    if is_name(name) or is_run_name(name):
        assert os.path.normpath(f"/root/{name}") == f"/root/{name}"
        assert Path(f"/root/{name}").parent == Path("/root")


def test_runs_are_named_as_they_were():
    assert all(map(is_run_name, ("20260101-120000-ab12", "9f1c0c5e-job", LATEST)))
    assert all(map(is_name, ("case_00001", "Prostate 1.2", "Zürich")))


def test_what_is_no_run_is_not_taken_for_the_latest(tmp_path):
    (tmp_path / "zz.Other" / "server").mkdir(parents=True)
    (tmp_path / "zz.Other" / "server" / "round_00001.safetensors").write_bytes(b"")
    with pytest.raises(FlapSamError, match="No run of this experiment"):
        find(tmp_path, LATEST, Experiment(), print)
