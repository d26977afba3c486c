"""Ours against segment_anything's own layers, on odd shapes."""

import pytest
import torch
from flap_sam.sam.attention import DecoderAttention, EncoderAttention
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
