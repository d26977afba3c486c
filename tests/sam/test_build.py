# SPDX-License-Identifier: Apache-2.0
"""Networks on the meta device: what they are made of, without memory and without chance."""

import pytest
import torch
from flap_sam.config.experiment import METHODS, Experiment
from flap_sam.sam.adapters import DoRA, LoRA, MoLE
from flap_sam.sam.attention import AdaptedAttention, EncoderAttention
from flap_sam.sam.build import BACKBONES, PATCH, Backbone, build
from flap_sam.sam.fact import FacT, SliceMixingBlock
from flap_sam.sam.methods import METHOD_TABLE

from tests.export.models import segment_anything_of

NARROW = Backbone(
    width=16,
    depth=3,
    heads=2,
    global_attention=(2,),
    window=3,
    image_size=80,
    prompt_width=32,
    decoder_heads=2,
    decoder_mlp=8,
)


def tiny(**settings) -> Experiment:
    return Experiment(**{"backbone": "vit_tiny", "image_size": 48, **settings})


@pytest.mark.parametrize("method", METHODS)
def test_nothing_has_memory_and_nothing_is_drawn(method):
    before = torch.get_rng_state()
    network = build(tiny(method=method))
    assert torch.equal(torch.get_rng_state(), before)
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}
    assert torch.randn(2).device.type == "cpu", "and afterwards torch draws again"


def test_the_plain_encoder_and_transformer_are_sams_by_name_and_shape():
    experiment = tiny(method="fullft")
    ours, theirs = build(experiment), segment_anything_of(experiment)
    for part in ("image_encoder", "mask_decoder.transformer", "prompt_encoder"):
        wanted = {name: tensor.shape for name, tensor in theirs.get_submodule(part).state_dict().items()}
        found = {name: tensor.shape for name, tensor in ours.get_submodule(part).state_dict().items()}
        assert found == wanted


@pytest.mark.parametrize("size", [16, 48, 80, 160])
def test_positions_follow_the_image_and_windows_do_not(size):
    network = build(Experiment(image_size=size), NARROW)
    tokens = size // PATCH
    assert network.image_encoder.pos_embed.shape == (1, tokens, tokens, 16)
    sides = [len(block.attn.rel_pos_h) for block in network.image_encoder.blocks]
    assert sides == [2 * 3 - 1, 2 * 3 - 1, 2 * tokens - 1]
    assert [block.attn.windowed for block in network.image_encoder.blocks] == [True, True, False]


def test_without_a_size_the_image_is_the_backbones():
    for name, backbone in BACKBONES.items():
        if name != "vit_h":  # as the others, and the longest to build
            tokens = build(Experiment(backbone=name)).image_encoder.pos_embed.shape[1]
            assert tokens * PATCH == backbone.image_size


@pytest.mark.parametrize("method", METHODS)
def test_adapters_are_on_query_and_value_of_every_attention_that_the_method_adapts(method):
    network = build(tiny(method=method))
    attentions = [m for m in network.modules() if isinstance(m, AdaptedAttention)]
    adapted = [m for m in attentions if m.adapted()]
    row = METHOD_TABLE[method]
    assert len(attentions) == 4 + 7, "the encoder's and the decoder's"
    if row.lora:
        assert adapted == attentions
    elif row.fact:
        assert adapted == [m for m in attentions if isinstance(m, EncoderAttention)]
    else:
        assert adapted == []
    mixing = [isinstance(block, SliceMixingBlock) for block in network.image_encoder.blocks]
    assert set(mixing) == {row.mixes_slices}


@pytest.mark.parametrize(("adapter", "kind"), [("lora", LoRA), ("dora", DoRA), ("mole", MoLE)])
def test_the_adapter_is_the_one_that_is_asked_for(adapter, kind):
    network = build(tiny(adapter=adapter, rank=5, alpha=0.5) if adapter != "mole" else tiny(adapter="mole", rank=5))
    found = [
        module
        for attention in network.modules()
        if isinstance(attention, AdaptedAttention)
        for module, _ in attention.adapted()
    ]
    assert {type(module) for module in found} == {kind}
    factors = [module for module in network.modules() if type(module) in (LoRA, DoRA)]
    assert {module.A.shape[0] for module in factors} == {5}
    if adapter == "mole":
        gates = {id(attention.gate) for attention in network.modules() if isinstance(attention, AdaptedAttention)}
        assert len(gates) == 11, "one an attention, of its query and value together"


def test_the_factors_of_fact_are_shared_by_all_layers():
    network = build(tiny(method="masam"))
    shared = {id(fact._shared[0]) for fact in network.modules() if isinstance(fact, FacT)}
    assert shared == {id(network.image_encoder.fact)}
    names = [name for name, _ in network.named_parameters() if name.endswith((".U", ".V"))]
    assert names == ["image_encoder.fact.U", "image_encoder.fact.V"], "and belong to the encoder alone"
