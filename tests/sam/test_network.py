# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.config.experiment import METHODS
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.methods import parameter_table, train_only

ADAPTED = [("loraft", "lora"), ("flap_sam", "lora"), ("flap_sam", "dora"), ("flap_sam", "mole"), ("masam", "lora")]


def windows(size: int) -> torch.Tensor:
    return torch.rand(2, 5, size, size, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(("classes", "size"), [(1, 16), (4, 48)])
def test_one_logit_map_a_class_and_the_background_at_input_resolution(small, classes, size):
    network, _, _ = network_for(small.changed(classes=classes, image_size=size), None)
    assert network(windows(size)).shape == (2, 5, classes + 1, size, size)


@pytest.mark.parametrize(("method", "adapter"), ADAPTED)
def test_at_the_start_the_adapted_network_equals_the_plain_one_bit_for_bit(small, method, adapter):
    """MA-SAM's 3D adapters are residual but start random, so its FacT part alone is compared."""
    adapted, _, _ = network_for(small.changed(method=method, adapter=adapter), None)
    plain, _, _ = network_for(small.changed(method="masam" if method == "masam" else "fullft"), None)
    if method == "masam":
        for block in plain.image_encoder.blocks:
            block.attn.attach(None, None)
    adapted.eval(), plain.eval()
    x = windows(small.image_size)
    assert torch.equal(adapted(x), plain(x))


def test_slices_do_not_mix_but_in_masam(small):
    x = windows(small.image_size)
    other = x.clone()
    other[:, 3] = 0.5
    for method in ("flap_sam", "masam"):
        network, _, _ = network_for(small.changed(method=method), None)
        network.eval()
        with torch.no_grad():
            moved = (network(x) - network(other)).abs().amax(dim=(0, 2, 3, 4))
        assert moved[3] > 1e-3
        if method == "masam":
            assert moved[[2, 4]].min() > 1e-4, "the neighbours see the change through the 3x1x1 convolution"
        else:
            assert moved[[0, 1, 2, 4]].max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_a_step_reaches_exactly_what_the_statement_says_is_used(small, method):
    network, _, _ = network_for(small.changed(method=method), None)
    torch.manual_seed(0)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.1)  # zeros would hide a gradient behind B = 0
    train_only(network, method)
    network(windows(small.image_size)).square().mean().backward()
    reached = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {t.name for t in parameter_table(network, method) if t.used}


def test_a_grid_of_prompts_is_more_than_no_prompt(small):
    without, _, _ = network_for(small, None)
    with_grid, _, _ = network_for(small.changed(prompt_grid=3), None)
    sparse, _ = with_grid.prompt_encoder()
    assert sparse.shape[1] == 3 * 3 + 1, "the points, and SAM's padding point for the missing box"
    assert without.prompt_encoder()[0].shape[1] == 0
    x = windows(small.image_size)
    assert not torch.equal(with_grid(x), without(x))
