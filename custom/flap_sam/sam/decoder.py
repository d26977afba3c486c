# SPDX-License-Identifier: Apache-2.0
"""SAM's mask decoder, upscaling 16 times instead of 4, one mask a class and one for the background."""

import itertools

import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn

from flap_sam.sam.attention import DecoderAttention
from flap_sam.sam.maps import Doubling, PixelNorm, in_image_order

DOUBLINGS = 4


class MaskDecoder16x(MaskDecoder):
    """Image embeddings to class logits at input resolution (the paper's section 2.1).

    Args:
        width: of the embeddings, 256 in SAM.
        classes: without background; there are classes + 1 mask tokens and all are returned.
        transformer: the two-way transformer.

    UP (`output_upscaling`) doubles the resolution four times while the width falls to width / 32;
    HYP (`output_hypernetworks_mlps`) turns each mask token into the weights of a 1x1 convolution over that.
    """

    parameter_groups = {
        "transformer": "decoder",
        "iou_token": "decoder",
        "mask_tokens": "mask_tokens",
        "output_upscaling": "up",
        "output_hypernetworks_mlps": "hyp",
        "iou_prediction_head": "decoder_unused",
    }

    def __init__(self, width: int, classes: int, transformer: nn.Module) -> None:
        super().__init__(
            transformer_dim=width, transformer=transformer, num_multimask_outputs=classes, iou_head_hidden_dim=width
        )
        self.output_upscaling = _upscaling(width)
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(width, width, width // 32, 3) for _ in range(classes + 1))

    def forward(  # type: ignore[override] # SAM's also chooses one of several masks
        self, embeddings: Tensor, positions: Tensor, sparse: Tensor, dense: Tensor
    ) -> Tensor:
        """Logits of a batch of slices.

        Args:
            embeddings: [b, width, h, w] from the image encoder.
            positions: [1, width, h, w], the encoding of the grid.
            sparse: [1, points, width] prompt tokens; dense: [1, width, h, w] prompt embedding.

        Returns:
            [b, classes + 1, 16 h, 16 w]; the argmax over the second axis is the segmentation, 0 is background.
        """
        b, _, h, w = embeddings.shape
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).unsqueeze(0)
        tokens = torch.cat([tokens, sparse], dim=1).expand(b, -1, -1)
        tokens, image = self.transformer(embeddings + dense, positions.expand(b, -1, -1, -1), tokens)
        upscaled = self.output_upscaling(image)
        kernels = [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)]
        return in_image_order(upscaled @ torch.stack(kernels, dim=2), h, w, DOUBLINGS)


def two_way_transformer(width: int, heads: int, mlp_width: int) -> TwoWayTransformer:
    """SAM's two-way transformer of depth 2 with our attention layers in the places of its own."""
    transformer = TwoWayTransformer(depth=2, embedding_dim=width, num_heads=heads, mlp_dim=mlp_width)
    for layer in transformer.layers:
        layer.self_attn = DecoderAttention(width, heads)
        layer.cross_attn_token_to_image = DecoderAttention(width, heads, downsample_rate=2)
        layer.cross_attn_image_to_token = DecoderAttention(width, heads, downsample_rate=2)
    transformer.final_attn_token_to_image = DecoderAttention(width, heads, downsample_rate=2)
    return transformer


def _upscaling(width: int) -> nn.Sequential:
    """Four doublings, width -> width/4 -> width/8 -> width/16 -> width/32; SAM's first two load by name and shape.

    Norm, GELU and the next doubling treat every pixel alike, so only the logits are put in the image's order.
    """
    layers: list[nn.Module] = []
    widths = (width, width // 4, width // 8, width // 16, width // 32)
    for before, after in itertools.pairwise(widths):
        layers += [Doubling(before, after), PixelNorm(after), nn.GELU()]
    del layers[-2]  # no norm after the last doubling
    return nn.Sequential(*layers)
