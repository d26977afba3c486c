import re

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.files import sha256
from flap_sam.pretraining.examine import examine
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
        assert str(tmp_path) not in told.value.public


def test_it_finds_shapes_that_it_has_not_seen():
    found, random = examine(PromptableSam.load(pretrained.FILE), scenes=8), examine(PromptableSam(1), scenes=8)
    assert all(found[asked] > 4 * random[asked] for asked in found)
