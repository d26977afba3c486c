# SPDX-License-Identifier: Apache-2.0
"""The decoder beside SAM's own layers, on grids that are no squares."""

import pytest
import torch
from flap_sam.sam.decoder import MaskDecoder16x, two_way_transformer
from flap_sam.sam.methods import groups_of_parameters
from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import nn

WIDTH, CLASSES = 64, 3


def filled(module: nn.Module, spread: float = 0.2) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=spread)
    return module.eval()


@pytest.fixture(scope="module")
def decoder() -> MaskDecoder16x:
    return filled(MaskDecoder16x(WIDTH, CLASSES, two_way_transformer(WIDTH, 4, 32)))


def upscaled_by_sams_layers(decoder: MaskDecoder16x, image: torch.Tensor) -> torch.Tensor:
    """The same weights in torch's transposed convolutions and SAM's norms, on maps with the channels first."""
    for layer in decoder.output_upscaling:
        if isinstance(layer, nn.ConvTranspose2d):
            plain = nn.ConvTranspose2d(layer.in_channels, layer.out_channels, 2, 2)
        elif isinstance(layer, LayerNorm2d):
            plain = LayerNorm2d(layer.weight.shape[0])
        else:
            plain = nn.GELU()
        plain.load_state_dict(layer.state_dict())
        image = plain(image)
    return image


@pytest.mark.parametrize(("h", "w"), [(1, 1), (2, 5), (3, 2)])
@pytest.mark.parametrize("points", [0, 2])
def test_the_logits_are_those_of_sams_layers(decoder, h, w, points):
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(2, WIDTH, h, w, generator=generator)
    positions, dense = (torch.randn(1, WIDTH, h, w, generator=generator) for _ in range(2))
    sparse = torch.randn(1, points, WIDTH, generator=generator)
    with torch.no_grad():
        found = decoder(embeddings, positions, sparse, dense)
        expected = []
        for one in embeddings:
            tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])[None]
            tokens, image = decoder.transformer(one[None] + dense, positions, torch.cat([tokens, sparse], dim=1))
            maps = upscaled_by_sams_layers(decoder, image.mT.reshape(1, WIDTH, h, w))
            kernels = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1)
            expected.append((kernels @ maps.flatten(2)).view(1, CLASSES + 1, 16 * h, 16 * w))
    assert found.shape == (2, CLASSES + 1, 16 * h, 16 * w)
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-4)


def test_slices_of_a_batch_do_not_see_each_other(decoder):
    torch.manual_seed(2)
    parts = torch.randn(3, WIDTH, 2, 3), torch.randn(1, WIDTH, 2, 3), torch.zeros(1, 0, WIDTH), torch.zeros(1, 1, 1, 1)
    with torch.no_grad():
        together = decoder(*parts)
        alone = torch.cat([decoder(one[None], *parts[1:]) for one in parts[0]])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("classes", [1, 4])
def test_there_is_a_mask_token_and_a_network_for_every_class_and_the_background(classes):
    made = MaskDecoder16x(WIDTH, classes, two_way_transformer(WIDTH, 4, 32))
    assert made.mask_tokens.weight.shape == (classes + 1, WIDTH)
    assert len(made.output_hypernetworks_mlps) == classes + 1
    widths = [layer.weight.shape[1] for layer in made.output_upscaling if isinstance(layer, nn.ConvTranspose2d)]
    assert widths == [WIDTH // 4, WIDTH // 8, WIDTH // 16, WIDTH // 32]


def test_the_transformer_is_sams():
    theirs = filled(TwoWayTransformer(depth=2, embedding_dim=WIDTH, num_heads=4, mlp_dim=32))
    ours = two_way_transformer(WIDTH, 4, 32).eval()
    ours.load_state_dict(theirs.state_dict())
    image, positions, tokens = torch.randn(2, WIDTH, 3, 5), torch.randn(2, WIDTH, 3, 5), torch.randn(2, 6, WIDTH)
    for found, expected in zip(ours(image, positions, tokens), theirs(image, positions, tokens), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_overlap_that_nothing_trains_is_told_from_what_is_used(decoder):
    groups = dict(groups_of_parameters(decoder))
    unused = {name.split(".")[0] for name, group in groups.items() if group == "decoder_unused"}
    assert unused == {"iou_prediction_head"}
    assert set(groups.values()) == {"decoder", "decoder_attention", "mask_tokens", "up", "hyp", "decoder_unused"}
