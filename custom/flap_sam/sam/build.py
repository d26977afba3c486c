# SPDX-License-Identifier: Apache-2.0
"""From an experiment to a network, on the meta device: shapes only, no memory, no time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

from flap_sam.config import strategies
from flap_sam.config.experiment import WINDOW_SLICES, Experiment
from flap_sam.sam.adapters import DoRA, LoRA, MixtureWeights, MoLE
from flap_sam.sam.attention import AdaptedAttention, EncoderAttention
from flap_sam.sam.decoder import MaskDecoder16x, two_way_transformer
from flap_sam.sam.encoder import EncoderBlock, ImageEncoder
from flap_sam.sam.fact import FacT, SharedFactors, SliceMixingBlock
from flap_sam.sam.methods import METHOD_TABLE
from flap_sam.sam.network import FlapSam, GridPrompt

PATCH = 16


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Sizes of one member of the SAM family.

    Args:
        width, depth, heads: of the image encoder; global_attention: its layers that see the whole image.
        window: tokens a side of the other layers' attention windows.
        image_size: pixels a side it is used at by default.
        prompt_width, decoder_heads, decoder_mlp: of the mask decoder.
    """

    width: int
    depth: int
    heads: int
    global_attention: tuple[int, ...]
    window: int = 14
    image_size: int = 224
    prompt_width: int = 256
    decoder_heads: int = 8
    decoder_mlp: int = 2048


BACKBONES = {
    "vit_tiny": Backbone(
        width=128,
        depth=4,
        heads=4,
        global_attention=(1, 3),
        window=8,
        image_size=128,
        prompt_width=128,
        decoder_heads=4,
        decoder_mlp=256,
    ),
    "vit_b": Backbone(width=768, depth=12, heads=12, global_attention=(2, 5, 8, 11)),
    "vit_l": Backbone(width=1024, depth=24, heads=16, global_attention=(5, 11, 17, 23)),
    "vit_h": Backbone(width=1280, depth=32, heads=16, global_attention=(7, 15, 23, 31)),
}


def build(experiment: Experiment, backbone: Backbone | None = None) -> FlapSam:
    """The experiment's network on the meta device; `checkpoint.load` gives it weights.

    Args:
        experiment: with its backbone and image size resolved.
        backbone: sizes in place of the named ones.
    """
    backbone = backbone or BACKBONES[experiment.backbone]
    method = METHOD_TABLE[experiment.method]
    image_size = experiment.image_size or backbone.image_size
    with torch.device("meta"), _Undrawn():
        network = FlapSam(
            _image_encoder(backbone, image_size, mixes_slices=method.mixes_slices),
            GridPrompt(backbone.prompt_width, image_size // PATCH, image_size, experiment.prompt_grid),
            MaskDecoder16x(
                backbone.prompt_width,
                experiment.classes,
                two_way_transformer(backbone.prompt_width, backbone.decoder_heads, backbone.decoder_mlp),
            ),
        )
        if method.lora:
            _attach_low_rank(network, experiment)
        if method.fact:
            _attach_fact(network.image_encoder, backbone.width, experiment)
    return network


class _Undrawn(TorchFunctionMode):
    """Passes over what draws and scales the start of a layer.

    On the meta device that does nothing, but torch imports its compiler for it: two seconds a process.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.randn:
            return torch.empty(*args)
        if func is torch.Tensor.mul:
            return next(factor for factor in args if isinstance(factor, torch.Tensor))
        if getattr(func, "__module__", None) == init.__name__:
            return kwargs["tensor"] if kwargs else args[0]
        return func(*args, **(kwargs or {}))


def _image_encoder(backbone: Backbone, image_size: int, mixes_slices: bool) -> ImageEncoder:
    tokens = image_size // PATCH
    encoder = ImageEncoder(
        img_size=image_size,
        patch_size=PATCH,
        embed_dim=backbone.width,
        depth=0,
        out_chans=backbone.prompt_width,
    )
    for i in range(backbone.depth):
        windowed = i not in backbone.global_attention
        side = backbone.window if windowed else tokens
        block = (
            SliceMixingBlock(backbone.width, backbone.heads, WINDOW_SLICES)
            if mixes_slices
            else EncoderBlock(backbone.width, backbone.heads)
        )
        block.attn = EncoderAttention(backbone.width, backbone.heads, (side, side), windowed)
        encoder.blocks.append(block)
    return encoder


def _attach_low_rank(network: FlapSam, experiment: Experiment) -> None:
    for attention in [m for m in network.modules() if isinstance(m, AdaptedAttention)]:
        shape = (*attention.widths(), experiment.rank, experiment.alpha)
        roles = strategies.traits(experiment.strategy).roles
        if experiment.adapter == "mole":
            gate = MixtureWeights(experiment.experts)
            query, value = (MoLE(*shape, gate, experiment.experts, roles) for _ in range(2))
            attention.attach(query, value, gate)
        else:
            layer = {"lora": LoRA, "dora": DoRA}[experiment.adapter]
            attention.attach(layer(*shape, roles), layer(*shape, roles))


def _attach_fact(encoder: ImageEncoder, width: int, experiment: Experiment) -> None:
    shared = encoder.fact = SharedFactors(width, experiment.rank)
    for attention in [m for m in encoder.modules() if isinstance(m, AdaptedAttention)]:
        attention.attach(FacT(shared, experiment.alpha), FacT(shared, experiment.alpha))
