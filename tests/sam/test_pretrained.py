# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.files import sha256
from flap_sam.pretraining.examine import examine, held_out
from flap_sam.pretraining.network import PromptableSam
from flap_sam.sam import pretrained

CARD = pretrained.FILE.with_name("README.md")


def test_file_code_and_card_are_of_one_hash():
    assert sha256(pretrained.FILE) == pretrained.SHA256
    assert re.findall("[0-9a-f]{64}", CARD.read_text()) == [pretrained.SHA256]
    assert pretrained.checked() == pretrained.FILE


def test_a_file_that_is_damaged_or_missing_is_refused(tmp_path, monkeypatch):
    content = bytearray(pretrained.FILE.read_bytes())
    content[-1] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(content)
    for name in ("damaged.safetensors", "missing.safetensors"):
        monkeypatch.setattr(pretrained, "FILE", tmp_path / name)
        with pytest.raises(FlapSamError, match=f"{name} is missing, or its sha256 is not {pretrained.SHA256}") as told:
            pretrained.checked()
        assert told.value.reason == Reason.CHECKPOINT


def test_it_finds_shapes_that_it_has_not_seen():
    networks = PromptableSam(1), PromptableSam.load(pretrained.FILE)
    found = [examine(network, held_out(network.side, scenes=32)) for network in networks]
    random, packaged = ({asked_by: overlaps.mean() for asked_by, overlaps in of_one.items()} for of_one in found)
    for asked_by in ("a point", "its best answer", "three points", "a box"):
        assert random[asked_by] < 0.1
        assert packaged[asked_by] > random[asked_by] + 0.1
    assert packaged["three points"] > packaged["a point"], "more points say more"
