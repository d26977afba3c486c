# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from flap_sam.data import demo
from flap_sam.data.demo import REVISION, cache_folder, demo_sites, demo_store
from flap_sam.data.prepare import PHANTOMS
from flap_sam.errors import FlapSamError, Reason


def test_the_users_own_folder_goes_before_the_systems_and_that_before_the_home(tmp_path, monkeypatch):
    monkeypatch.delenv("FLAP_SAM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "flap-sam" / f"demo-{REVISION}"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "flap-sam" / f"demo-{REVISION}"
    monkeypatch.setenv("FLAP_SAM_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / f"demo-{REVISION}"


@pytest.mark.parametrize("source", ["kits19", "", "phantom/../x"])
def test_another_source_is_no_demo_and_leaves_no_folder(tmp_path, monkeypatch, source):
    monkeypatch.setenv("FLAP_SAM_CACHE", str(tmp_path / "cache"))
    for ask in (demo_sites, lambda name: demo_store(name, lambda sites: sites[0])):
        with pytest.raises(FlapSamError, match="expected phantom, phantom-head, phantom-pelvis") as refused:
            ask(source)
        assert refused.value.reason == Reason.NO_DATA
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("source", PHANTOMS)
def test_one_site_is_prepared_below_the_cache_by_this_process_alone(tmp_path, monkeypatch, source):
    """A site's process asks for its own data; workers of its own would compete with the other sites'."""
    monkeypatch.setenv("FLAP_SAM_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr(demo, "prepare", lambda *words, **options: asked.append((words, options)))
    store, site = demo_store(source, lambda sites: sites[-1])
    folder = cache_folder() / source
    assert (store, site) == (folder / "store", list(PHANTOMS[source].scanners)[-1])
    assert asked == [((source, folder / "volumes", folder / "store", [site]), {"workers": 1})]
    assert Path(folder).is_relative_to(tmp_path)
