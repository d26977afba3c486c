# SPDX-License-Identifier: Apache-2.0
import torch
from flap_sam.sam.maps import Doubling, PixelNorm, in_image_order
from segment_anything.modeling.common import LayerNorm2d
from torch import nn


def test_doublings_of_pixels_are_transposed_convolutions_of_maps():
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.ConvTranspose2d(6, 4, 2, 2), LayerNorm2d(4), nn.GELU(), nn.ConvTranspose2d(4, 3, 2, 2))
    ours = nn.Sequential(Doubling(6, 4), PixelNorm(4), nn.GELU(), Doubling(4, 3))
    nn.init.normal_(theirs[1].weight)
    nn.init.normal_(theirs[1].bias)
    ours.load_state_dict(theirs.state_dict())
    maps = torch.randn(2, 6, 3, 5)
    expected = theirs(maps)
    found = in_image_order(ours(maps.flatten(2).mT), 3, 5, doublings=2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    toward = torch.randn(expected.shape)
    (expected * toward).sum().backward()
    (found * toward).sum().backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)
