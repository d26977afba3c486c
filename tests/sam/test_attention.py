# SPDX-License-Identifier: Apache-2.0
"""Ours against segment_anything's own layers, on odd shapes."""

import pytest
import torch
from flap_sam.sam import attention as attention_module
from flap_sam.sam.adapters import DoRA, LoRA, MixtureWeights, MoLE
from flap_sam.sam.attention import AdaptedAttention, DecoderAttention, EncoderAttention
from flap_sam.sam.fact import FacT, SharedFactors
from segment_anything.modeling import image_encoder, transformer


def filled(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


@pytest.mark.parametrize("size", [(3, 3), (4, 7)])
def test_encoder_attention_is_sams(size):
    theirs = filled(image_encoder.Attention(24, num_heads=3, use_rel_pos=True, input_size=size))
    ours = EncoderAttention(24, 3, size)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, *size, 24)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("downsample", [1, 2])
def test_decoder_attention_is_sams(downsample):
    theirs = filled(transformer.Attention(16, 2, downsample))
    ours = DecoderAttention(16, 2, downsample)
    ours.load_state_dict(theirs.state_dict())
    q, k, v = torch.randn(2, 3, 16), torch.randn(2, 11, 16), torch.randn(2, 11, 16)
    torch.testing.assert_close(ours(q, k, v), theirs(q, k, v), rtol=1e-5, atol=1e-5)


def test_adapters_see_the_projections_own_inputs():
    attention = filled(DecoderAttention(16, 2))
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x, y, weight, bias):
            seen.append((x, torch.nn.functional.linear(x, weight, bias) - y))
            return y

    attention.attach(Spy(), Spy())
    q, k, v = (torch.randn(1, n, 16) for n in (3, 5, 5))
    attention(q, k, v)
    assert seen[0][0] is q
    assert seen[1][0] is v
    for _, difference in seen:
        assert torch.equal(difference, torch.zeros_like(difference))


def adapt(attention: AdaptedAttention, kind: str) -> None:
    shape = (*attention.widths(), 2, 0.7)
    if kind == "fact":
        attention.shared = SharedFactors(shape[0], 2)
        attention.attach(FacT(attention.shared, 0.7), FacT(attention.shared, 0.7))
    elif kind == "mole":
        gate = MixtureWeights(2)
        attention.attach(MoLE(*shape, gate, 2), MoLE(*shape, gate, 2), gate)
    else:
        layer = DoRA if kind == "dora" else LoRA
        attention.attach(layer(*shape), layer(*shape))


@pytest.mark.parametrize("kind", ["lora", "dora", "mole", "fact"])
def test_windows_with_adapters_are_those_of_zero_tokens_in_place(kind):
    """SAM cuts the padded image into windows before the projections; ours does so after them."""
    ours, theirs = EncoderAttention(24, 3, (4, 4), windowed=True), EncoderAttention(24, 3, (4, 4))
    for attention in (ours, theirs):
        adapt(attention, kind)
        filled(attention).eval()
    x, toward = torch.randn(2, 6, 9, 24), torch.randn(2, 6, 9, 24)
    windows, padded = image_encoder.window_partition(x, 4)
    expected = image_encoder.window_unpartition(theirs(windows), 4, padded, (6, 9))
    found = ours(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    (expected * toward).mean().backward()
    (found * toward).mean().backward()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize(("windowed", "size", "grid"), [(False, (5, 7), (5, 7)), (True, (4, 4), (6, 9))])
def test_operands_as_wide_as_a_gpu_wants_them_give_the_same(monkeypatch, windowed, size, grid):
    """Columns of zeros change no score: output and gradients but for rounding, wherever the operands are made again."""
    attention = EncoderAttention(24, 3, size, windowed)
    adapt(attention, "lora")
    filled(attention)
    x, toward = torch.randn(2, *grid, 24), torch.randn(2, *grid, 24)
    widths, found = [], []
    fused = attention._fused
    attention._fused = lambda *operands: widths.append({t.shape[-1] for t in operands}) or fused(*operands)
    for aligned in ({}, {"cpu": 32}):
        monkeypatch.setattr(attention_module, "ALIGNED", aligned)
        attention.zero_grad()
        out = attention(x)
        (out * toward).mean().backward()
        found.append([out.detach(), *(p.grad.clone() for p in attention.parameters() if p.grad is not None)])
    assert all(width % 32 == 0 for kinds in widths[len(widths) // 2 :] for width in kinds)
    assert any(width % 32 for kinds in widths[: len(widths) // 2] for width in kinds)
    for plain, wide in zip(*found, strict=True):
        torch.testing.assert_close(wide, plain, rtol=1e-5, atol=1e-5)
