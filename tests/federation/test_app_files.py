# SPDX-License-Identifier: Apache-2.0
"""What an app may hold: what FLARE itself makes of a staged job, and no file beside."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from flap_sam.deployment.stage import stage
from flap_sam.federation.app_files import FILES, MOST_BYTES, ConfigurationOnly, wrong_in_folder, wrong_in_zip
from flap_sam.federation.kits.policy import POLICIES
from hypothesis import given, settings
from hypothesis import strategies as st
from nvflare.fuel.utils.class_loader import load_class
from nvflare.fuel.utils.zip_utils import zip_directory_to_bytes
from nvflare.lighter.utils import sign_folders

JOBS = Path(__file__).parents[2] / "jobs"
HOSTILE = [
    "custom/sitecustomize.py",
    "custom/",
    "config/driver.py",
    "config/comm_config.json",
    "config/resources.json",
    "config/config_fed_client.conf",
    "config/config_fed_client.yml",
    "config/deep/config_fed_client.json",
    "log_config.json",
    "meta.json",
    "../local/resources.json",
    "/etc/passwd",
    "config/../custom/x.py",
    "config\\config_fed_client.json",
    "Config/config_fed_client.json",
]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The app of a staged job, signed as FLARE signs what is submitted."""
    staged = stage(JOBS / "flap_sam_nifti", tmp_path / "staged", {}).folder
    certificate = tmp_path / "lead.crt"
    certificate.write_text("any")
    sign_folders(str(staged), rsa.generate_private_key(public_exponent=65537, key_size=2048), str(certificate))
    return staged / "app"


def zipped(*names: str, content: bytes = b"{}") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return stream.getvalue()


def test_what_flare_makes_of_a_staged_job_passes(app):
    assert {str(path.relative_to(app)) for path in app.rglob("*") if path.is_file()} == FILES
    assert wrong_in_zip(zip_directory_to_bytes(str(app), "")) is None
    assert wrong_in_folder(app) is None
    assert ConfigurationOnly().validate(str(app)) == ("", {})


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_beside_is_named(name):
    assert repr(name) in wrong_in_zip(zipped(*FILES, name))


@settings(max_examples=30)
@given(st.text(min_size=1, max_size=40).filter(lambda name: "\0" not in name))
def test_no_other_name_passes(name):
    assert (wrong_in_zip(zipped(name)) is None) == (name in FILES or name == "config/")


@pytest.mark.parametrize("name", ["custom/sitecustomize.py", "config/comm_config.json", "config/deep/x", "custom/"])
def test_a_file_beside_is_named_in_a_folder(app, name):
    path = app / name
    path.mkdir() if name.endswith("/") else path.parent.mkdir(exist_ok=True)
    if not path.is_dir():
        path.write_text("{}")
    error, told = ConfigurationOnly().validate(str(app))
    assert "no configuration" in error
    assert told == {}


@pytest.mark.parametrize("body", [None, "text", b"", b"PK", {}, bytearray(zipped("config/config_fed_client.json"))])
def test_what_is_no_zip_is_refused(body):
    assert "no zip" in wrong_in_zip(body)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_comes_twice_is_refused():
    assert "twice" in wrong_in_zip(zipped("config/config_fed_client.json", "config/config_fed_client.json"))


def test_a_zip_that_grows_is_refused_unread():
    bomb = zipped("config/config_fed_client.json", content=b" " * (MOST_BYTES + 1))
    assert len(bomb) < MOST_BYTES / 100
    assert "more than" in wrong_in_zip(bomb)


def test_the_servers_policy_has_it_look_at_every_app():
    resources = json.loads((POLICIES / "server/resources.json").read_text())
    assert load_class(resources["app_validator"]["path"]) is ConfigurationOnly
