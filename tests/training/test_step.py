# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.methods import train_only
from flap_sam.training.step import backward, backward_by_window
from flap_sam.training.team import ALONE

METHODS = [("flap_sam", "lora"), ("flap_sam", "dora"), ("fullft", "lora"), ("masam", "lora")]


@pytest.mark.parametrize(("method", "adapter"), METHODS)
def test_window_by_window_is_the_whole_batch(small, method, adapter):
    """MA-SAM's dropout draws other numbers for a window alone: it is left out here."""
    network, _, _ = network_for(small.changed(method=method, adapter=adapter), None)
    trained = train_only(network, method)
    network.train(method != "masam")
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(3, 5, 32, 32, generator=generator)
    labels = torch.randint(0, 3, images.shape, generator=generator, dtype=torch.uint8)
    expected = backward(network, images, labels, ALONE, 1.0)
    gradients = {name: network.get_parameter(name).grad.clone() for name in trained}
    network.zero_grad()
    network.image_encoder.recompute_blocks()
    torch.testing.assert_close(backward_by_window(network, images, labels, ALONE, 1.0), expected)
    for name, gradient in gradients.items():
        found = network.get_parameter(name).grad
        torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")


def test_both_passes_draw_the_same_random_numbers(small):
    """The loss is of the numbers that the gradient is of."""
    network, _, _ = network_for(small.changed(method="masam"), None)
    torch.nn.init.normal_(network.image_encoder.fact.V)
    drawn = []
    network.mask_decoder.register_forward_hook(lambda *told: drawn.append(told[2].detach()))
    images, labels = torch.rand(2, 5, 32, 32), torch.zeros(2, 5, 32, 32, dtype=torch.uint8)
    backward_by_window(network, images, labels, ALONE, 1.0)
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1], drawn[3])
    assert not torch.equal(*(network(images[:1]) for _ in range(2))), "dropout is at work"


def test_windows_of_no_weight_change_nothing(small):
    network, _, _ = network_for(small, None)
    train_only(network, small.method)
    images, labels = torch.rand(2, 5, 32, 32), torch.zeros(2, 5, 32, 32, dtype=torch.uint8)
    other = [torch.ones(4, 3, dtype=torch.float64)]
    team = type("Half", (type(ALONE),), {"total": lambda _, own: own + other[0]})()
    for step in (backward, backward_by_window):
        network.zero_grad()
        step(network, images, labels, team, 0.0)
        assert not any(p.grad.any() for p in network.parameters() if p.grad is not None)
