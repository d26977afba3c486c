# SPDX-License-Identifier: Apache-2.0
"""The commands that write a trained payload for other tools."""

import pytest
from flap_sam.foundation.files import sha256
from flap_sam.sam.weights import RANDOM
from safetensors import safe_open

from tests.commands.test_main import run
from tests.export.models import write_payload


@pytest.mark.parametrize(
    ("form", "name", "file"),
    [("sam", "sam.safetensors", "."), ("peft", "adapter", "adapter_model.safetensors")],
)
def test_an_export_says_which_payload_it_is_of(small, tmp_path, monkeypatch, capsys, form, name, file):
    payload, out = write_payload(small, tmp_path), tmp_path / name
    assert run(monkeypatch, capsys, "export", form, "--payload", str(payload), "--out", str(out))[0] == 0
    with safe_open(out / file if out.is_dir() else out, "pt") as found:
        assert found.metadata()["payload_sha256"] == sha256(payload)


def test_a_bundle_is_clipped_as_asked(small, tmp_path, monkeypatch, capsys):
    words = ["export", "monai", "--payload", str(write_payload(small, tmp_path)), "--out", str(tmp_path / "bundle")]
    code, out, _ = run(monkeypatch, capsys, *words, "--clip", "-80", "300")
    assert (code, "clipped to -80 and 300" in out) == (0, True)
    assert '"low": -80.0' in (tmp_path / "bundle" / "configs" / "inference.json").read_text()
    code, _, err = run(monkeypatch, capsys, *words, "--clip", "-80", "300")
    assert (code, "bundle is there already" in err) == (1, True)


def test_a_payload_of_random_weights_needs_the_word(small, tmp_path, monkeypatch, capsys):
    payload, out = write_payload(small, tmp_path, RANDOM), tmp_path / "sam.safetensors"
    words = ["export", "sam", "--payload", str(payload), "--out", str(out)]
    code, _, err = run(monkeypatch, capsys, *words)
    assert (code, "from the bundled small SAM it is" in err, "`random` if they drew theirs" in err) == (1, True, True)
    assert run(monkeypatch, capsys, *words, "--checkpoint", "random")[0] == 0
    assert out.is_file()
