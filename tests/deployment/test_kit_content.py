# SPDX-License-Identifier: Apache-2.0
"""What a kit holds, judged file by file; that FLARE's own kits are whole is tested by the whole check."""

import json
from pathlib import Path

import pytest
from flap_sam.deployment import kit_content
from flap_sam.deployment.kit_content import CODE, LOCAL, STARTUP, no_code, whole
from flap_sam.federation.kits.policy import COMMUNICATION, HOSPITAL, lay


@pytest.fixture
def kit(tmp_path, monkeypatch) -> Path:
    """A kit with its policy, and no folder where FLARE's start script would look for code."""
    monkeypatch.setattr(kit_content, "START_SCRIPTS_PATH", tmp_path / "nowhere")
    folder = tmp_path / "kits" / "north"
    for name in STARTUP:
        put(folder, f"startup/{name}")
    (folder / "local").mkdir()
    lay(folder, HOSPITAL)
    return folder


def put(kit: Path, path: str, content: object = "{}") -> None:
    (kit / path).parent.mkdir(parents=True, exist_ok=True)
    (kit / path).write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_kit_as_it_was_laid_is_whole_and_free_of_code(kit):
    assert whole(kit) == (True, "local/ and startup/ hold the files of a kit and no other")
    assert no_code(kit) == (True, "none")
    assert {path.name for path in (kit / "local").iterdir()} <= LOCAL


@pytest.mark.parametrize("name", sorted(LOCAL))
def test_every_file_that_a_kit_may_have_may_be_there(kit, name):
    if not (kit / "local" / name).exists():
        put(kit, f"local/{name}")
    assert whole(kit)[0]


@pytest.mark.parametrize(
    "path",
    [
        *("local/x__resources.json", "local/job_resources.json", "local/custom/a.json", "startup/x__resources.json"),
        *("startup/fed_server.json", "comm_config.yml", "old/job/resources.json", "old/comm_config.json.default"),
        *("transfer/fed_client.conf", "local/authorization.json.bak"),
    ],
)
def test_a_file_that_flare_would_read_beside_is_named(kit, path):
    put(kit, path)
    good, told = whole(kit)
    assert not good
    assert told.startswith(path)
    assert told.endswith("; take it out")


@pytest.mark.parametrize("path", ["notes.txt", "transfer/scan.nii", "0cfe6be3/app/config/config_fed_client.json"])
def test_what_flare_does_not_read_is_the_hospitals_own(kit, path):
    put(kit, path)
    assert whole(kit)[0]


@pytest.mark.parametrize("path", ["local/authorization.json", "startup/client.key", "notes", "local", "startup"])
def test_a_link_where_flare_reads_is_named(kit, path, tmp_path):
    there = kit / path
    if there.exists():
        there.rename(tmp_path / "elsewhere")
    else:
        (tmp_path / "elsewhere").touch()
    there.symlink_to(tmp_path / "elsewhere")
    good, told = whole(kit)
    assert not good
    assert Path(path).name in told
    assert "is a link" in told


@pytest.mark.parametrize("content", [None, {"allow_adhoc_conns": True}])
def test_how_a_kit_talks_is_as_shipped(kit, content):
    (kit / COMMUNICATION).unlink()
    if content:
        put(kit, COMMUNICATION, content)
    assert whole(kit) == (False, f"{COMMUNICATION} beside local/ is not the shipped one; run `flap-sam kit` again")


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("startup/fed_client.json", {"client": {}, "components": []}, "has components, which would overrule"),
        ("local/relay__resources.json", {"relay_config": {}, "components": []}, "says more than relay_config"),
        ("startup/relay__resources.json", {}, "says more than relay_config"),
        ("local/log_config.json", {"handlers": {"x": {"class": "os.system"}}}, "has FLARE build os.system"),
        ("local/log_config.json", {"filters": [{"()": ["os", "system"]}]}, "has FLARE build"),
        ("local/log_config.json.default", {"a": {"b": [{"class": "logging.FileHandler"}]}}, "has FLARE build"),
    ],
)
def test_a_file_of_a_kit_that_says_too_much_is_named(kit, path, content, words):
    put(kit, path, content)
    good, told = whole(kit)
    assert not good
    assert path in told
    assert words in told


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("startup/fed_client.json", {"format_version": 2, "servers": [], "client": {}}),
        ("local/relay__resources.json", {"relay_config": {"scheme": "tcp"}}),
        ("local/log_config.json", {"handlers": {"x": {"class": "logging.handlers.RotatingFileHandler"}}}),
        ("local/log_config.json", {"formatters": {"x": {"()": "nvflare.fuel.utils.log_utils.JsonFormatter"}}}),
    ],
)
def test_what_a_hospital_may_say_passes(kit, path, content):
    put(kit, path, content)
    assert whole(kit)[0]


@pytest.mark.parametrize("ending", sorted(CODE))
@pytest.mark.parametrize("folder", ["", "local/", "startup/", "0cfe6be3/app/custom/deep/"])
def test_code_is_found_wherever_it_lies(kit, folder, ending):
    put(kit, f"{folder}sitecustomize{ending}")
    good, told = no_code(kit)
    assert not good
    assert f"{folder}sitecustomize{ending}" in told


def test_the_folder_that_flares_start_script_loads_from_is_found(kit, tmp_path, monkeypatch):
    (tmp_path / "custom").mkdir()
    monkeypatch.setattr(kit_content, "START_SCRIPTS_PATH", tmp_path / "custom")
    good, told = no_code(kit)
    assert not good
    assert str(tmp_path / "custom") in told
