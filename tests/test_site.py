import json
import re

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.site import Site


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
        ("{", "cannot be read"),
        ("[]", "a non-object"),
        ('{"dta": "x"}', "hold ['dta']; known are"),
        ('{"data": 3}', "a value that is no text"),
        ('{"processes": "two"}', "processes are 'two'; expected 1 to 64"),
        ('{"processes": 2, "device": "cuda:0"}', "cannot share the device 'cuda:0'"),
        ('{"precision": "float16"}', "precision is 'float16'; expected one of float32, tf32, bfloat16, auto"),
        ('{"memory": "little"}', "memory is 'little'; expected one of normal, low"),
        ('{"compile": "yes"}', "compile is 'yes'; expected true or false"),
        ('{"pictures": 1}', "pictures is 1; expected true or false"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, cause):
    (tmp_path / "flap_site.json").write_text(text)
    with pytest.raises(FlapSamError, match=re.escape(cause)):
        Site.read(tmp_path)


def test_an_empty_setting_is_no_setting(tmp_path):
    (tmp_path / "flap_site.json").write_text('{"data": "", "checkpoint": null}')
    assert Site.read(tmp_path) == Site()


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(FlapSamError, match="'cuda:99' cannot be used"):
        Site(device="cuda:99").torch_device()


def test_where_the_state_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert Site.read(None).state_root == tmp_path / "flap-sam"
    monkeypatch.setenv("FLAP_SAM_STATE", "/from/environment")
    assert str(Site.read(None).state_root) == "/from/environment"
