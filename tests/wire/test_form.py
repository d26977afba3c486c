# SPDX-License-Identifier: Apache-2.0
"""The form in which adapters travel."""

import pytest
import torch
from flap_sam.sam.build import build
from flap_sam.sam.methods import parameter_table
from flap_sam.wire.form import (
    fixed_names,
    in_canonical_form,
    in_form_of_round,
    is_in_form_of_round,
    summed_pairs,
    turning_pairs,
)


def drawn(experiment) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    network = build(experiment)
    sent = [tensor for tensor in parameter_table(network, experiment.method) if tensor.sent]
    return {tensor.name: torch.randn(tensor.shape, generator=generator) for tensor in sent}


@pytest.mark.parametrize("adapter", ["lora", "dora", "mole"])
@pytest.mark.parametrize("strategy", ["svd", "residual", "sketch"])
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
        {"strategy": "alternate"},
        {"strategy": "fedsvd"},
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


@pytest.mark.parametrize("adapter", ["lora", "dora", "mole"])
@pytest.mark.parametrize(("strategy", "sides"), [("alternate", "AB"), ("fedsvd", "AA")])
def test_a_round_fixes_one_factor_and_a_number_that_was_used_up_is_split_anew(small, adapter, strategy, sides):
    """The same change in the form of whichever round is next, out of any form."""
    experiment = small.changed(adapter=adapter, strategy=strategy)
    pairs = turning_pairs(build(experiment), experiment)
    tensors = drawn(experiment)
    for number in (0, 1, 3, 4, 6):
        told = in_form_of_round(tensors, experiment, pairs, number)
        assert fixed_names(experiment, pairs, number) == [f"{a[:-1]}{sides[number % 2]}" for a, _ in pairs]
        assert list(told) == list(tensors)
        for other in (number, number + 1, number + 2):
            same = sides[other % 2] == sides[number % 2]
            assert is_in_form_of_round(told, experiment, pairs, other, torch.float32) == same
        for a, b in pairs:
            torch.testing.assert_close(told[b] @ told[a], tensors[b] @ tensors[a], rtol=0, atol=1e-3)
        for name in tensors.keys() - {name for pair in pairs for name in pair}:
            assert told[name] is tensors[name]
        tensors = told


@pytest.mark.parametrize("strategy", ["svd", "residual", "sketch", "factor-average", "freeze-a"])
def test_other_strategies_fix_nothing_and_leave_tensors_as_they_are(small, strategy):
    experiment = small.changed(strategy=strategy)
    pairs = turning_pairs(build(experiment), experiment)
    tensors = drawn(experiment)
    assert fixed_names(experiment, pairs, 0) == []
    assert all(t is tensors[n] for n, t in in_form_of_round(tensors, experiment, pairs, 0).items())
