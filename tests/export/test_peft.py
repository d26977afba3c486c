# SPDX-License-Identifier: Apache-2.0
import flap_sam
import peft as foreign
import pytest
import safetensors
import torch
from flap_sam.errors import FlapSamError
from flap_sam.export import peft
from flap_sam.export.effective import adapted, plain
from flap_sam.sam.attention import DecoderAttention
from flap_sam.sam.checkpoint import read
from flap_sam.sam.methods import METHOD_TABLE
from flap_sam.sam.weights import RANDOM
from safetensors.torch import load_file

from tests.export.models import EXPERIMENTS, NOTE, close, pictures, segment_anything_of, trained, write_checkpoint

ADAPTED = {
    name: settings for name, settings in EXPERIMENTS.items() if METHOD_TABLE[settings.get("method", "flap_sam")].lora
}


@pytest.mark.parametrize("settings", ADAPTED.values(), ids=ADAPTED)
def test_peft_makes_the_same_network_of_the_folder(small, tmp_path, settings):
    start = write_checkpoint(tmp_path / "start.safetensors")
    model = trained(small.changed(rank=3).changed(image_size=48, **settings), tmp_path, start)
    peft.write(model, NOTE, tmp_path / "adapter")
    network = plain(model.experiment)
    state = read(start) | load_file(tmp_path / "adapter" / peft.BASE)
    network.load_state_dict(state, strict=True, assign=True)
    wrapped = foreign.PeftModel.from_pretrained(network, str(tmp_path / "adapter"))
    windows = pictures(1, 3, 48, 48)
    with torch.no_grad():
        close(wrapped.eval()(windows), model.network(windows))
        with wrapped.disable_adapter():
            assert (wrapped(windows) - model.network(windows)).abs().max() > 0.01
        merged = wrapped.merge_and_unload()
        close(merged(windows), model.network(windows))


@pytest.mark.parametrize(("adapter", "origin"), [("lora", "checkpoint"), ("dora", "bundled"), ("mole", "random")])
def test_the_card_s_lines_adapt_segment_anything_itself(small, tmp_path, monkeypatch, adapter, origin):
    start = write_checkpoint(tmp_path / "start.safetensors")
    given = {"checkpoint": start, "bundled": None, "random": RANDOM}[origin]
    model = trained(small.changed(adapter=adapter), tmp_path, given)
    folder = tmp_path / "adapter"
    peft.write(model, NOTE, folder)
    torch.save(read(start), folder / "sam_vit_b_01ec64.pth")
    lines = (folder / peft.CARD).read_text().split("```python\n")[1].split("```")[0]
    found = {"torch": torch, "safetensors": safetensors, "peft": foreign, "flap_sam": flap_sam}
    found["sam"] = segment_anything_of(model.experiment)
    monkeypatch.chdir(folder)
    exec(lines, found)
    own, loaded = load_file(folder / peft.ADAPTER), foreign.get_peft_model_state_dict(found["model"])
    assert {name: tensor.shape for name, tensor in loaded.items()} == {n: t.shape for n, t in own.items()}
    sam, slices = found["model"].eval().base_model.model, pictures(2, 32, 32)
    with torch.no_grad():
        embeddings = model.network.encode(slices[None])[0]
        close(sam.image_encoder(slices[:, None].expand(-1, 3, -1, -1)), embeddings)
        inputs = embeddings, pictures(2, 128, 2, 2), pictures(2, 4, 128)
        expected = model.network.mask_decoder.transformer(*inputs)
        for ours, theirs in zip(expected, sam.mask_decoder.transformer(*inputs), strict=True):
            close(theirs, ours)


@pytest.mark.parametrize("boxed", [False, True])
def test_the_base_file_holds_what_sam_lacks_and_nothing_else(small, tmp_path, boxed):
    start = None if boxed else write_checkpoint(tmp_path / "start.safetensors")
    model = trained(small.changed(image_size=48), tmp_path, start)
    peft.write(model, NOTE, tmp_path / "adapter")
    base = load_file(tmp_path / "adapter" / peft.BASE)
    assert {"image_encoder.pos_embed", "mask_decoder.mask_tokens.weight"} <= set(base)
    assert not any(".mlp.lin" in name or ".attn.qkv" in name or "adapter" in name for name in base)
    card = (tmp_path / "adapter" / peft.CARD).read_text()
    assert f"{len(base)} tensors" in card
    assert "not a medical device" in card


def test_an_adapter_longer_than_its_layer_is_shortened_to_the_rank_of_its_change(small, tmp_path):
    """Three experts of rank 24, of which 2 are not zero, are 72 together; the decoder has layers that are 64 wide."""
    model = trained(small.changed(adapter="mole", experts=3, rank=24), tmp_path)
    for name, parameter in model.network.named_parameters():
        if name.endswith(".A"):
            parameter[2:] = 0
    layers, ranks = peft.layers_of(model), set()
    for name, attention in adapted(model.network):
        if isinstance(attention, DecoderAttention):
            for projection, (mole, weight) in zip(("q_proj", "v_proj"), attention.adapted(), strict=True):
                found = layers[f"{name}.{projection}"]
                change = sum(s * e.alpha * e.B @ e.A for s, e in zip(mole.shares(), mole.experts, strict=True))
                torch.testing.assert_close(found.B @ found.A, change, atol=1e-5, rtol=1e-4)
                ranks.add((min(weight.shape), len(found.A)))
    assert ranks == {(64, 6), (128, 72)}


def test_what_peft_cannot_hold_is_refused(small, tmp_path):
    with pytest.raises(FlapSamError, match="masam has 3D adapters"):
        peft.write(trained(small.changed(method="masam"), tmp_path), NOTE, tmp_path / "adapter")
    with pytest.raises(FlapSamError, match="pdecft trains no adapters"):
        peft.write(trained(small.changed(method="pdecft"), tmp_path), NOTE, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
