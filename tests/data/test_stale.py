# SPDX-License-Identifier: Apache-2.0
"""Whether a store is still what its source would give, as the doctor says it."""

import pytest
from flap_sam.data.doctor import examine_store
from flap_sam.data.stale import stale
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError

from tests.data.pairs_site import Site


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_the_doctor_compares_a_store_with_its_source(site):
    site.prepare()
    assert examine_store(site.store, site.folder).findings == ()
    site.touch("a")
    assert examine_store(site.store, site.folder).findings == ()
    site.correct("labels", "a", keep_time=True)
    site.correct("images", "d", keep_time=True)
    site.add("e", "test")
    site.remove("b")
    site.file("labels", "c").unlink()
    found = {finding.case: finding for finding in examine_store(site.store, site.folder).findings}
    assert {finding.severity for finding in found.values()} == {"error"}
    assert "its label map changed" in found["a"].sentence
    assert "its image changed" in found["d"].sentence
    assert "not in the store" in found["e"].sentence
    assert "no longer in" in found["b"].sentence
    assert "c.nii.gz cannot be opened" in found["c"].sentence
    assert f"flap-sam prepare pairs --source {site.folder} --out {site.store} --site A" in found["e"].sentence
    assert not examine_store(site.store).failed, "by itself it is whole"


def test_the_doctor_finds_changed_settings_and_another_layout(site):
    site.prepare()
    site.classes("organ", "cyst")
    (finding,) = examine_store(site.store, site.folder).findings
    assert "the names of the classes changed" in finding.sentence
    (finding,) = examine_store(site.store, site.folder, "bids").findings
    assert "cannot be compared" in finding.sentence
    with pytest.raises(FlapSamError, match="gone does not exist"):
        examine_store(site.store, site.folder / "gone")


def told(site, layout=None):
    return list(stale(SiteStore.open(site.store, "A").manifest, site.folder, site.store, layout))


def test_a_case_in_another_split_is_named_with_both(site):
    site.prepare()
    assert told(site) == []
    before = {case.id: case.split for case in SiteStore.open(site.store, "A").manifest.cases}["a"]
    site.splits["a"] = "test"
    site.table()
    found = dict(told(site))
    assert before != "test"
    assert f"It is a {before} case in the store, but a test case in {site.folder}" in found["a"]


def test_a_source_that_no_longer_has_the_site_is_one_sentence(site):
    site.prepare()
    (site.folder / "sites.csv").write_text("case,site,split\na,B,train\n")
    ((case, sentence),) = told(site)
    assert case is None
    assert f"{site.folder} has no site A; correct the path" in sentence


def test_a_setting_that_changed_does_not_hide_a_file_that_did(site):
    site.prepare()
    site.classes("organ", "cyst")
    site.correct("images", "b", keep_time=True)
    (setting, changed) = told(site)
    assert setting[0] is None
    assert "the names of the classes changed" in setting[1]
    assert changed[0] == "b"
    assert "its image changed" in changed[1]
