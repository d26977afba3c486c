# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import onnx as foreign
import onnxruntime
import pytest
import torch
from flap_sam.errors import FlapSamError
from flap_sam.export import onnx
from flap_sam.sam.build import BACKBONES
from flap_sam.sam.weights import RANDOM
from flap_sam.wire import payload

from tests.export.models import NOTE, pictures, trained


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """A windowed and a global layer: what an export takes grows with their number. No file holds such a network."""
    sizes = replace(BACKBONES["vit_tiny"], depth=2, global_attention=(1,))
    monkeypatch.setitem(BACKBONES, "vit_tiny", sizes)
    payload.travelling.cache_clear()
    yield
    payload.travelling.cache_clear()


def run(path, array):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: array})[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "slices", "limit", "files"),
    [
        ({"adapter": "dora", "image_size": 48}, 1, onnx.LARGEST_FILE, ["decoder.onnx", "encoder.onnx"]),
        ({"method": "masam"}, 5, 2**23, ["decoder.onnx", "encoder.onnx", "encoder.onnx.data"]),
    ],
    ids=["slices apart", "slices that mix, a large encoder"],
)
def test_onnxruntime_gives_the_network_s_logits(small, tmp_path, monkeypatch, settings, slices, limit, files):
    monkeypatch.setattr(onnx, "LARGEST_FILE", limit)
    model = trained(small.changed(rank=3).changed(**settings), tmp_path, RANDOM)
    size = model.experiment.image_size
    assert onnx.write(model, NOTE, tmp_path / "onnx") <= onnx.TOLERANCE
    assert sorted(file.name for file in (tmp_path / "onnx").iterdir()) == files
    for batch in (1, 2, 5):  # 2 and 5 were not among those that the command compares
        windows = pictures(batch, slices, size, size)
        embeddings = run(tmp_path / "onnx" / onnx.ENCODER, windows.numpy())
        logits = run(tmp_path / "onnx" / onnx.DECODER, embeddings)
        with torch.no_grad():
            np.testing.assert_allclose(embeddings, model.network.encode(windows).flatten(0, 1), atol=1e-4)
            np.testing.assert_allclose(logits, model.network(windows).flatten(0, 1), atol=1e-4)
    encoder = foreign.load(tmp_path / "onnx" / onnx.ENCODER)
    foreign.checker.check_model(str(tmp_path / "onnx" / onnx.ENCODER), full_check=True)
    assert {entry.key: entry.value for entry in encoder.metadata_props}["payload_sha256"] == "ab"


def test_what_differs_is_not_written(small, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "_export", lambda *_: None)
    monkeypatch.setattr(onnx, "difference", lambda *_: float("nan"))
    with pytest.raises(FlapSamError, match=r"differ from the network by nan, expected at most 0\.0001"):
        onnx.write(trained(small, tmp_path, RANDOM), NOTE, tmp_path / "onnx")
    assert not list(tmp_path.glob("onnx*"))
