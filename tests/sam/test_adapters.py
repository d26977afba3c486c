# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.sam.adapters import DoRA, LoRA, MixtureWeights, MoLE
from torch.nn import functional as F

D_IN, D_OUT, RANK = 7, 5, 3


def filled(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return module


@pytest.fixture
def projection():
    torch.manual_seed(3)
    return torch.randn(4, 6, D_IN), torch.randn(D_OUT, D_IN), torch.randn(D_OUT)


def test_lora_is_its_equation(projection):
    x, weight, bias = projection
    lora = filled(LoRA(D_IN, D_OUT, RANK, alpha=0.7))
    expected = F.linear(x, weight + 0.7 * lora.B @ lora.A, bias)
    torch.testing.assert_close(lora(x, F.linear(x, weight, bias), weight, bias), expected)


def test_dora_is_its_equation_and_keeps_the_norm_out_of_the_gradient(projection):
    x, weight, bias = projection
    dora = filled(DoRA(D_IN, D_OUT, RANK, alpha=0.7))
    adapted = weight + 0.7 * dora.B @ dora.A
    norms = adapted.norm(dim=1, keepdim=True).detach()
    expected = F.linear(x, dora.magnitude[:, None] * adapted / norms, bias)
    found = dora(x, F.linear(x, weight, bias), weight, bias)
    torch.testing.assert_close(found, expected)
    for name in ("A", "B", "magnitude"):
        parameter = getattr(dora, name)
        (ours,) = torch.autograd.grad(found.square().sum(), parameter, retain_graph=True)
        (theirs,) = torch.autograd.grad(expected.square().sum(), parameter, retain_graph=True)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_mole_is_its_equation(projection):
    x, weight, bias = projection
    gate = filled(MixtureWeights(4), seed=1)
    mole = filled(MoLE(D_IN, D_OUT, RANK, 0.7, gate, experts=4))
    shares = torch.softmax(torch.sigmoid(gate.logits), 0)
    change = sum(w * 0.7 * e.B @ e.A for w, e in zip(shares, mole.experts, strict=True))
    expected = F.linear(x, weight + change, bias)
    torch.testing.assert_close(mole(x, F.linear(x, weight, bias), weight, bias), expected)


def test_zero_b_changes_no_bit(projection):
    x, weight, bias = projection
    y = F.linear(x, weight, bias)
    lora, dora = (filled(kind(D_IN, D_OUT, RANK, 1.0)) for kind in (LoRA, DoRA))
    mole = filled(MoLE(D_IN, D_OUT, RANK, 1.0, filled(MixtureWeights(2)), 2))
    for module in (lora, dora, *mole.experts):
        module.B.data.zero_()
    dora.magnitude.data = dora.row_norms(weight)
    for adapter in (lora, dora, mole):
        assert torch.equal(adapter(x, y, weight, bias), y)


def test_a_gate_belongs_to_its_attention_alone():
    gate = MixtureWeights(2)
    mole = MoLE(D_IN, D_OUT, RANK, 1.0, gate, 2)
    assert all("gate" not in name for name, _ in mole.named_parameters())
