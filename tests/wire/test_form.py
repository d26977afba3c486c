# SPDX-License-Identifier: Apache-2.0
"""The form in which adapters travel."""

import pytest
import torch
from flap_sam.sam.build import build
from flap_sam.sam.methods import parameter_table
from flap_sam.wire.form import in_canonical_form, summed_pairs


def drawn(experiment) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    network = build(experiment)
    sent = [tensor for tensor in parameter_table(network, experiment.method) if tensor.sent]
    return {tensor.name: torch.randn(tensor.shape, generator=generator) for tensor in sent}


@pytest.mark.parametrize("adapter", ["lora", "dora", "mole"])
@pytest.mark.parametrize("strategy", ["svd", "residual"])
def test_every_adapter_whose_product_is_summed_is_in_canonical_form(small, adapter, strategy):
    experiment = small.changed(adapter=adapter, strategy=strategy)
    pairs = summed_pairs(build(experiment), experiment)
    tensors = drawn(experiment)
    told = in_canonical_form(tensors, pairs)
    factors = {name for pair in pairs for name in pair}
    assert factors == {name for name in tensors if name.endswith((".A", ".B"))}
    assert list(told) == list(tensors)
    for name in tensors.keys() - factors:
        assert told[name] is tensors[name]
    for a, b in pairs:
        assert torch.allclose(told[b] @ told[a], tensors[b] @ tensors[a], atol=1e-3)
        assert told[a].shape == tensors[a].shape
        assert told[a].dtype == torch.float32


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "factor-average"},
        {"strategy": "freeze-a"},
        {"payload_dtype": "int8"},
        {"method": "masam"},
        {"method": "fullft"},
    ],
)
def test_what_is_averaged_by_itself_travels_as_it_is(small, changes):
    experiment = small.changed(**changes)
    assert summed_pairs(build(experiment), experiment) == []


def test_the_form_is_its_own(small):
    pairs = summed_pairs(build(small), small)
    once = in_canonical_form(drawn(small), pairs)
    twice = in_canonical_form(once, pairs)
    assert all(torch.allclose(once[name], twice[name], atol=1e-4) for name in once)
