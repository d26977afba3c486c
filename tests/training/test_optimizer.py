# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.training.optimizer import AdamW


@pytest.mark.parametrize("fused", [False, True])
def test_steps_are_torchs_bit_for_bit(fused):
    ends = []
    for kind in (AdamW, torch.optim.AdamW):
        torch.manual_seed(0)
        layer = torch.nn.Linear(7, 3)
        optimizer = kind(layer.parameters(), lr=0.01, betas=(0.9, 0.999), weight_decay=0.1, fused=fused)
        for _ in range(4):
            optimizer.zero_grad()
            layer(torch.randn(5, 7)).square().mean().backward()
            optimizer.step()
        assert not layer.weight.grad_fn
        ends.append([*layer.parameters(), *optimizer.state[layer.weight].values()])
    for ours, theirs in zip(*ends, strict=True):
        assert torch.equal(ours, theirs)
