# SPDX-License-Identifier: Apache-2.0
"""Ours against segment_anything's own encoder, on grids that its windows do not divide."""

from functools import partial

import pytest
import torch
from flap_sam.sam.attention import EncoderAttention
from flap_sam.sam.encoder import EncoderBlock, ImageEncoder
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Block
from torch import nn

NORM = partial(nn.LayerNorm, eps=1e-6)
close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)


def filled(module: nn.Module, spread: float = 0.2) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=spread)
    return module


def same_gradients(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        close(a.grad, b.grad, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(("grid", "window"), [((6, 3), 3), ((5, 7), 3), ((4, 3), 4), ((2, 3), 5), ((3, 8), 2)])
def test_a_windowed_block_is_sams(grid, window):
    theirs = filled(Block(24, 3, norm_layer=NORM, use_rel_pos=True, window_size=window))
    ours = EncoderBlock(24, 3)
    ours.attn = EncoderAttention(24, 3, (window, window), windowed=True)
    ours.load_state_dict(theirs.state_dict())
    x, toward = torch.randn(2, *grid, 24), torch.randn(2, *grid, 24)
    close(ours(x), theirs(x))
    for block in (ours, theirs):
        (block(x) * toward).mean().backward()
    same_gradients(ours, theirs)


def encoders() -> tuple[ImageEncoder, ImageEncoderViT]:
    sizes = {"img_size": 80, "embed_dim": 24, "out_chans": 8}
    theirs = filled(
        ImageEncoderViT(
            **sizes, depth=2, num_heads=3, norm_layer=NORM, use_rel_pos=True, window_size=3, global_attn_indexes=(1,)
        )
    )
    ours = ImageEncoder(**sizes, depth=0)
    for windowed in (True, False):
        block = EncoderBlock(24, 3)
        block.attn = EncoderAttention(24, 3, (3, 3) if windowed else (5, 5), windowed)
        ours.blocks.append(block)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_a_grey_slice_is_sams_image_of_three_equal_channels():
    ours, theirs = encoders()
    slices = torch.rand(3, 80, 80)
    images = slices.unsqueeze(1).expand(-1, 3, -1, -1)
    embeddings = ours(slices)
    close(embeddings, theirs(images))
    toward = torch.randn(embeddings.shape)
    (embeddings * toward).mean().backward()
    (theirs(images) * toward).mean().backward()
    assert ours.patch_embed.proj.weight.grad.shape == (24, 3, 16, 16)
    same_gradients(ours, theirs)


def test_what_is_computed_again_is_the_same():
    kept, _ = encoders()
    again, _ = encoders()
    again.recompute_blocks()
    slices = torch.rand(2, 80, 80)
    for encoder in (kept, again):
        encoder(slices).square().mean().backward()
    for a, b in zip(kept.parameters(), again.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
