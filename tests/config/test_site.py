# SPDX-License-Identifier: Apache-2.0
import json
import re
from pathlib import Path

import pytest
from flap_sam.config.site import Site, absolute_paths
from flap_sam.errors import FlapSamError, Reason
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for name in ("FLAP_SAM_DATA", "FLAP_SAM_CHECKPOINT", "FLAP_SAM_DEVICE", "FLAP_SAM_STATE"):
        monkeypatch.delenv(name, raising=False)


def test_the_environment_goes_before_the_file(tmp_path, monkeypatch):
    (tmp_path / "flap_site.json").write_text(json.dumps({"data": "/from/file", "device": "cpu"}))
    assert str(Site.read(tmp_path).data) == "/from/file"
    monkeypatch.setenv("FLAP_SAM_DATA", "/from/environment")
    site = Site.read(tmp_path)
    assert (str(site.data), site.device) == ("/from/environment", "cpu")


def test_nothing_configured_is_no_error(tmp_path):
    assert Site.read(tmp_path) == Site.read(None) == Site()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{", "it is no JSON"),
        ("[]", "it is [], expected"),
        ('{"dta": "x"}', "dta is unknown"),
        ('{"data": "/a", "data": "/b"}', "data stands in it twice"),
        ('{"data": 3}', "data is 3, expected"),
        ('{"data": 0}', "data is 0, expected"),
        ('{"data": "store"}', "data is 'store', expected a path from the root"),
        ('{"data": "random"}', "data is 'random', expected a path from the root"),
        ('{"checkpoint": "./sam.pth"}', "checkpoint is './sam.pth', expected a path from the root"),
        ('{"state": ".."}', "state is '..', expected a path from the root"),
        ('{"payloads": "a/b"}', "payloads is 'a/b', expected a path from the root"),
        ('{"data": "~nobody-of-this-name/x"}', "expected a folder whose ~ is known here"),
        ('{"name": "../A"}', "name is '../A', expected letters, digits, '.', '_', '-' and blanks"),
        ('{"name": 3}', "name is 3, expected a text"),
        ('{"checkpoint_sha256": "ab"}', "checkpoint_sha256 is 'ab', expected 64 hexadecimal digits"),
        ('{"device": 0}', "device is 0, expected a text"),
        ('{"processes": "two"}', "processes is 'two', expected a whole number"),
        ('{"processes": true}', "processes is True, expected a whole number"),
        ('{"processes": 2.0}', "processes is 2.0, expected a whole number"),
        ('{"processes": 65}', "processes is 65, expected less than or equal to 64"),
        ('{"processes": 2, "device": "cuda:0"}', "processes is 2, expected 1 beside the device 'cuda:0'"),
        ('{"precision": "float16"}', "precision is 'float16', expected 'float32', 'tf32', 'bfloat16' or 'auto'"),
        ('{"precision": null}', "precision is None, expected"),
        ('{"memory": "little"}', "memory is 'little', expected 'normal' or 'low'"),
        ('{"compile": "yes"}', "compile is 'yes', expected true or false"),
        ('{"pictures": 1}', "pictures is 1, expected true or false"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence_that_names_it(tmp_path, text, cause):
    path = tmp_path / "flap_site.json"
    path.write_text(text)
    with pytest.raises(FlapSamError, match=re.escape(cause)) as told:
        Site.read(tmp_path)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)
    assert told.value.reason == Reason.STOPPED


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.symlink_to("nowhere")])
def test_settings_that_cannot_be_read_are_not_taken_for_none(tmp_path, make):
    make(tmp_path / "flap_site.json")
    with pytest.raises(FlapSamError, match=r"flap_site\.json cannot be used"):
        Site.read(tmp_path)


def test_a_wrong_setting_of_the_environment_is_named(tmp_path, monkeypatch):
    (tmp_path / "flap_site.json").write_text('{"processes": 2}')
    monkeypatch.setenv("FLAP_SAM_DEVICE", "cuda:0")
    with pytest.raises(FlapSamError, match=r"flap_site\.json under FLAP_SAM_DEVICE cannot be used: processes is 2"):
        Site.read(tmp_path)
    monkeypatch.setenv("FLAP_SAM_DEVICE", "cpu")
    assert Site.read(tmp_path).processes == 2


def test_the_environment_repairs_what_the_file_has_wrong(tmp_path, monkeypatch):
    (tmp_path / "flap_site.json").write_text('{"processes": 2, "device": "cuda:0", "data": "~nobody-of-this-name"}')
    monkeypatch.setenv("FLAP_SAM_DEVICE", "cpu")
    monkeypatch.setenv("FLAP_SAM_DATA", "/data")
    assert Site.read(tmp_path) == Site(processes=2, device="cpu", data=Path("/data"))


def test_paths_begin_at_the_root_in_the_file_alone(tmp_path, monkeypatch):
    (tmp_path / "flap_site.json").write_text('{"data": "/data", "checkpoint": "random", "state": "~/state"}')
    assert Site.read(tmp_path) == Site(data=Path("/data"), checkpoint=Path("random"), state=Path.home() / "state")
    monkeypatch.setenv("FLAP_SAM_DATA", "store")
    assert Site.read(tmp_path).data == Path("store")
    (tmp_path / "flap_site.json").write_text('{"data": "another"}')
    assert Site.read(tmp_path).data == Path("store")


def test_an_empty_setting_is_no_setting(tmp_path):
    (tmp_path / "flap_site.json").write_text(
        '{"data": "", "checkpoint": null, "name": "", "checkpoint_sha256": "", "device": ""}'
    )
    assert Site.read(tmp_path) == Site()


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(FlapSamError, match="'cuda:99' cannot be used"):
        Site(device="cuda:99").torch_device()


def test_where_the_state_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert Site.read(None).state_root == tmp_path / "flap-sam"
    monkeypatch.setenv("FLAP_SAM_STATE", "/from/environment")
    assert str(Site.read(None).state_root) == "/from/environment"


PATHS = st.sampled_from([None, Path("/data/store"), Path("random"), Path("a b/\u00fc")])
SITES = st.builds(
    Site,
    data=PATHS,
    name=st.sampled_from([None, "A", "Prostate 1.2"]),
    checkpoint=PATHS,
    checkpoint_sha256=st.sampled_from([None, "aB" * 32]),
    device=st.sampled_from([None, "cpu"]),
    precision=st.sampled_from(["float32", "tf32", "bfloat16", "auto"]),
    memory=st.sampled_from(["normal", "low"]),
    compile=st.booleans(),
    state=PATHS,
    processes=st.integers(1, 64),
    pictures=st.booleans(),
)


@given(site=SITES)
def test_a_site_comes_back_from_its_plain_settings(site):
    plain = json.loads(json.dumps(site.model_dump(mode="json")))
    assert Site.from_plain(plain) == site


@given(site=SITES, name=st.sampled_from([None, "B"]), processes=st.integers(1, 64))
def test_a_changed_site_differs_in_nothing_else(site, name, processes):
    found = site.changed(name=name, processes=processes)
    assert dict(found) == dict(site) | {"name": name, "processes": processes}
    with pytest.raises(ValueError, match=r"^processes is 0, expected greater than or equal to 1"):
        site.changed(processes=0)


def test_a_site_does_not_change_itself():
    with pytest.raises(ValidationError, match="frozen"):
        Site().processes = 2


def test_plain_settings_that_are_wrong_are_refused():
    with pytest.raises(FlapSamError, match="settings cannot be used: memory is 'little'"):
        Site.from_plain({"memory": "little"})


def test_relative_paths_are_told_from_where_the_user_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"FLAP_SAM_DATA": "store", "FLAP_SAM_CHECKPOINT": "random", "FLAP_SAM_STATE": "/state", "HOME": "home"}
    assert absolute_paths(given) == {"FLAP_SAM_DATA": str(tmp_path / "store")}
    assert absolute_paths({"FLAP_SAM_CHECKPOINT": "../sam.pth", "FLAP_SAM_DATA": ""}) == {
        "FLAP_SAM_CHECKPOINT": str(tmp_path / "../sam.pth")
    }
