# SPDX-License-Identifier: Apache-2.0
"""MA-SAM's adapters beside their equations."""

import pytest
import torch
from flap_sam.sam.attention import EncoderAttention
from flap_sam.sam.fact import CORE_DROPOUT, FacT, SharedFactors, SliceAdapter, SliceMixingBlock
from torch import nn
from torch.nn import functional as F

WIDTH, RANK, SLICES = 12, 3, 5


def filled(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


@pytest.fixture
def fact() -> FacT:
    return filled(nn.ModuleList([shared := SharedFactors(WIDTH, RANK), FacT(shared, 0.7)]))[1].eval()


@pytest.fixture
def projection():
    torch.manual_seed(3)
    return torch.randn(4, 6, WIDTH), torch.randn(WIDTH, WIDTH), torch.randn(WIDTH)


def test_fact_is_its_equation(fact, projection):
    x, weight, bias = projection
    shared = fact._shared[0]
    expected = F.linear(x, weight + 0.7 * shared.V @ fact.core @ shared.U, bias)
    torch.testing.assert_close(fact(x, F.linear(x, weight, bias), weight, bias), expected)


def test_the_start_changes_no_bit_and_still_has_gradients(projection):
    x, weight, bias = projection
    shared = SharedFactors(WIDTH, RANK)
    fact, generator = FacT(shared, 0.7), torch.Generator().manual_seed(0)
    for module, names in ((shared, ("U", "V")), (fact, ("core",))):
        for name in names:
            getattr(module, name).data = module.initial(name, generator)
    y = F.linear(x, weight, bias)
    found = fact(x, y, weight, bias)
    assert torch.equal(found, y)
    found.square().sum().backward()
    assert shared.V.grad.any()


def test_the_start_is_drawn_with_the_spread_of_its_layer():
    shared = SharedFactors(400, 50)
    u = shared.initial("U", torch.Generator().manual_seed(0))
    core = FacT(shared, 1.0).initial("core", torch.Generator().manual_seed(0))
    assert u.std().item() == pytest.approx(400**-0.5, rel=0.03)
    assert core.std().item() == pytest.approx(50**-0.5, rel=0.05)


def test_dropout_is_on_the_cores_output_in_training_alone(fact, projection):
    x, weight, bias = projection
    y, shared = F.linear(x, weight, bias), fact._shared[0]
    assert torch.equal(fact(x, y, weight, bias), fact(x, y, weight, bias))
    shared.V.data = torch.eye(WIDTH)[:, :RANK]  # the cores' output becomes visible
    hidden = F.linear(F.linear(x, shared.U), fact.core)
    fact.train()
    torch.manual_seed(1)
    drawn = torch.stack([((fact(x, y, weight, bias) - y) / 0.7)[..., :RANK] / hidden for _ in range(200)])
    kept = drawn > 0.5
    assert kept.float().mean().item() == pytest.approx(1 - CORE_DROPOUT, abs=0.02)
    torch.testing.assert_close(drawn[kept], torch.full_like(drawn[kept], 1 / (1 - CORE_DROPOUT)), rtol=1e-2, atol=1e-2)


def by_hand(adapter: SliceAdapter, x: torch.Tensor) -> torch.Tensor:
    """The convolution as a sum over the slice before, the slice itself and the one after."""
    hidden = adapter.down(F.layer_norm(x, (WIDTH,), adapter.norm.weight, adapter.norm.bias, 1e-6))
    windows = hidden.view(-1, SLICES, *hidden.shape[1:])
    out = adapter.conv.bias.expand_as(windows).clone()
    for tap, shift in enumerate((-1, 0, 1)):
        for s in range(SLICES):
            if 0 <= s + shift < SLICES:
                out[:, s] += windows[:, s + shift] @ adapter.conv.weight[:, :, tap, 0, 0].mT
    return x + F.gelu(out.flatten(0, 1)) @ adapter.up.weight.mT


def test_a_slice_adapter_is_its_equation_and_windows_do_not_mix():
    adapter = filled(SliceAdapter(WIDTH, SLICES))
    x = torch.randn(2 * SLICES, 3, 2, WIDTH)
    with torch.no_grad():
        torch.testing.assert_close(adapter(x), by_hand(adapter, x), rtol=1e-3, atol=1e-3)
        other = x.clone()
        other[SLICES:] = 0
        torch.testing.assert_close(adapter(other)[:SLICES], adapter(x)[:SLICES])


def test_a_block_mixes_slices_before_the_attention_and_before_the_mlp():
    block = filled(SliceMixingBlock(WIDTH, 2, SLICES))
    block.attn = filled(EncoderAttention(WIDTH, 2, (3, 2)))
    x = torch.randn(SLICES, 3, 2, WIDTH)
    with torch.no_grad():
        mixed = by_hand(block.attention_slices, x)
        mixed = mixed + block.attn(block.norm1(mixed))
        mixed = by_hand(block.mlp_slices, mixed)
        torch.testing.assert_close(block(x), mixed + block.mlp(block.norm2(mixed)), rtol=1e-3, atol=1e-3)
