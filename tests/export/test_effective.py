# SPDX-License-Identifier: Apache-2.0
"""What an adapter makes of its projection, without its network."""

import pytest
import torch
from flap_sam.config.experiment import METHODS
from flap_sam.errors import FlapSamError
from flap_sam.export.effective import adapted, changed, check_slices_apart, factors, plain
from flap_sam.sam.adapters import DoRA, LoRA, MixtureWeights, MoLE
from flap_sam.sam.build import build
from flap_sam.sam.fact import FacT, SharedFactors
from flap_sam.sam.methods import METHOD_TABLE
from torch import nn
from torch.nn import functional as F

D_IN, D_OUT, RANK, ALPHA = 7, 5, 3, 0.7


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return module


ADAPTERS = {
    "lora": lambda: filled(LoRA(D_IN, D_OUT, RANK, ALPHA)),
    "dora": lambda: filled(DoRA(D_IN, D_OUT, RANK, ALPHA)),
    "mole": lambda: filled(MoLE(D_IN, D_OUT, RANK, ALPHA, filled(MixtureWeights(4), 1), 4)),
}


@pytest.mark.parametrize("kind", ADAPTERS)
def test_the_changed_weight_alone_does_what_the_adapter_does(kind):
    adapter = ADAPTERS[kind]()
    torch.manual_seed(3)
    x, weight, bias = torch.randn(4, 6, D_IN), torch.randn(D_OUT, D_IN), torch.randn(D_OUT)
    before = weight.clone()
    with torch.no_grad():
        expected = adapter(x, F.linear(x, weight, bias), weight, bias)
        new = changed(adapter, weight)
    assert new.dtype == torch.float32
    torch.testing.assert_close(F.linear(x, new, bias), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(weight, before), "what other parties share is left alone"


@pytest.mark.parametrize(("kind", "rank"), [("lora", RANK), ("dora", RANK), ("mole", 4 * RANK)])
def test_factors_are_as_long_as_all_experts_together(kind, rank):
    found = factors(ADAPTERS[kind]())
    assert (found.A.shape, found.B.shape) == ((rank, D_IN), (D_OUT, rank))


def test_what_no_weight_can_do_has_no_factors():
    with pytest.raises(NotImplementedError, match="FacT"):
        factors(FacT(SharedFactors(D_IN, RANK), ALPHA))


@pytest.mark.parametrize("method", METHODS)
def test_only_where_slices_mix_is_an_export_refused(small, method):
    experiment = small.changed(method=method)
    if METHOD_TABLE[method].mixes_slices:
        with pytest.raises(FlapSamError, match=f"{method} has 3D adapters .*, which PEFT has no place"):
            check_slices_apart(experiment, "PEFT")
    else:
        check_slices_apart(experiment, "PEFT")


def test_the_adapted_layers_are_named_and_the_plain_network_has_none(small):
    network = build(small)
    found = dict(adapted(network))
    assert len(found) == 4 + 7
    assert all(network.get_submodule(name) is attention for name, attention in found.items())
    bare = plain(small)
    assert not list(adapted(bare))
    assert set(bare.state_dict()) == {n for n in network.state_dict() if "adapter" not in n}
