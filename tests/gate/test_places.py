# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
from flap_sam.gate.agreement import FILE_NAME as AGREEMENT
from flap_sam.gate.audit import FILE_NAME
from flap_sam.gate.places import Places

from tests.gate.test_agreement import written


@pytest.fixture
def kit(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("FLAP_SAM_STATE", raising=False)
    (tmp_path / "kit" / "local").mkdir(parents=True)
    settings = {"state": str(tmp_path / "state")}
    (tmp_path / "kit" / "local" / "flap_site.json").write_text(json.dumps(settings))
    return tmp_path / "kit"


def places(kit: Path, name: str = "north") -> Places:
    return Places(kit, kit / "local", name)


def test_a_site_keeps_its_ledger_under_its_own_name_where_its_settings_say(kit, tmp_path):
    assert places(kit).folder == tmp_path / "state" / "gate" / "north"
    assert places(kit, "south").folder != places(kit).folder, "two sites of one machine"


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_where_no_agreement_can_be_read_the_kits_own_log_is_written(kit, content):
    """What the gate refuses then must be written down too."""
    if content is not None:
        (kit / "local" / AGREEMENT).write_text(content)
    log = places(kit).audit_log
    assert log.path == kit / FILE_NAME
    assert log.head_path.parent == places(kit).folder, "apart from the log"


def test_the_agreement_may_name_another_log_also_below_the_home(kit, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    written(kit / "local", audit="~/audit.jsonl")
    found = places(kit)
    assert found.audit_log.path == tmp_path / "home" / "audit.jsonl"
