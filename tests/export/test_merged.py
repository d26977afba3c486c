# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import torch
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError
from flap_sam.export import merged
from flap_sam.export.effective import adapted, plain
from flap_sam.sam.checkpoint import read
from safetensors import safe_open
from safetensors.torch import load_file

from tests.export.models import (
    EXPERIMENTS,
    NOTE,
    below,
    close,
    pictures,
    segment_anything_of,
    trained,
    write_checkpoint,
)


@pytest.mark.parametrize("settings", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_the_merged_checkpoint_gives_the_same_logits_without_adapters(small, tmp_path, settings):
    model = trained(small.changed(rank=3).changed(image_size=48, **settings), tmp_path)
    path = tmp_path / "sam.safetensors"
    merged.write(model, NOTE, path)
    network = plain(model.experiment)
    network.load_state_dict(load_file(path), strict=True, assign=True)
    windows = pictures(1, 3, 48, 48)
    with torch.no_grad():
        found, expected = network.eval()(windows), model.network(windows)
    close(found, expected)
    assert (found.argmax(2) != expected.argmax(2)).float().mean() < 1e-3
    assert not list(adapted(network))


def test_the_adapters_matter(small, tmp_path):
    model = trained(small, tmp_path)
    windows = pictures(1, 1, 32, 32)
    with torch.no_grad():
        before = model.network(windows)
        for _, attention in adapted(model.network):
            attention.attach(None, None)
        assert (model.network(windows) - before).abs().max() > 0.01


@pytest.mark.parametrize("name", ["sam.safetensors", "sam.pth"])
def test_segment_anything_loads_the_encoder_and_the_transformer(small, tmp_path, name):
    model = trained(small.changed(image_size=48), tmp_path, write_checkpoint(tmp_path / "start.safetensors"))
    merged.write(model, NOTE, tmp_path / name)
    state = read(tmp_path / name)
    sam = segment_anything_of(model.experiment)
    sam.image_encoder.load_state_dict(below(state, "image_encoder."), strict=True)
    sam.mask_decoder.transformer.load_state_dict(below(state, "mask_decoder.transformer."), strict=True)
    sam.prompt_encoder.load_state_dict(below(state, "prompt_encoder."), strict=True)
    slices = pictures(2, 48, 48)
    with torch.no_grad():
        embeddings = model.network.encode(slices[None])[0]
        found = sam.image_encoder(slices[:, None].expand(-1, 3, -1, -1))
        close(found, embeddings)
        inputs = embeddings, sam.prompt_encoder.get_dense_pe().expand(2, -1, -1, -1), pictures(2, 4, 128)
        for ours, theirs in zip(
            model.network.mask_decoder.transformer(*inputs), sam.mask_decoder.transformer(*inputs), strict=True
        ):
            close(theirs, ours)


def test_the_file_says_where_it_comes_from(small, tmp_path):
    model = trained(small, tmp_path)
    merged.write(model, NOTE | {"experiment": model.experiment.to_json()}, tmp_path / "sam.safetensors")
    with safe_open(tmp_path / "sam.safetensors", "pt") as file:
        metadata = file.metadata()
    assert Experiment.from_dict(json.loads(metadata["experiment"])) == model.experiment
    assert metadata["payload_sha256"] == "ab"


def test_what_cannot_be_merged_is_refused(small, tmp_path):
    with pytest.raises(FlapSamError, match="masam has 3D adapters between SAM's layers"):
        merged.write(trained(small.changed(method="masam"), tmp_path), NOTE, tmp_path / "sam.pth")
    with pytest.raises(FlapSamError, match=r"sam\.bin ends in neither"):
        merged.write(trained(small, tmp_path), NOTE, tmp_path / "sam.bin")
    assert not list(tmp_path.glob("sam*"))
