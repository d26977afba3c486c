# SPDX-License-Identifier: Apache-2.0
"""SAM's image encoder for grey slices, its maps with the channels last."""

from typing import cast

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import Block
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from flap_sam.sam.attention import EncoderAttention
from flap_sam.sam.maps import layer_norm

Neck = tuple[nn.Conv2d, LayerNorm2d, nn.Conv2d, LayerNorm2d]
"""What SAM's encoder has in its `neck`, which is an `nn.Sequential` and knows its parts as modules only."""


class TokenNorm(nn.LayerNorm):
    """SAM's norm over the width of the encoder's tokens."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)


class EncoderBlock(Block):
    """SAM's encoder block around an attention that cuts its own windows (`attention.EncoderAttention`)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, norm_layer=TokenNorm)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [b, h, w, width] to the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ImageEncoder(ImageEncoderViT):
    """Grey slices to embeddings."""

    pos_embed: nn.Parameter  # never None, as in SAM's own
    _recomputes = False

    def recompute_blocks(self) -> None:
        """From now on keep only each block's input for the backward pass, and compute the rest there again."""
        self._recomputes = True
        for module in self.modules():
            if isinstance(module, EncoderAttention):
                module.remakes = False

    def forward(self, slices: Tensor) -> Tensor:
        """Slices [b, S, S], intensities in [0, 1], to embeddings [b, width, S / 16, S / 16]."""
        x = self._patches(slices) + self.pos_embed
        recompute = self._recomputes and torch.is_grad_enabled()
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        narrow, first_norm, smooth, second_norm = cast(Neck, tuple(self.neck))
        x = layer_norm(first_norm, F.linear(x, narrow.weight.flatten(1)))
        x = smooth(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return layer_norm(second_norm, x).permute(0, 3, 1, 2)

    def _patches(self, slices: Tensor) -> Tensor:
        """The patch embedding of a slice repeated on its channels: their weights act as one, their sum."""
        weight = self.patch_embed.proj.weight.sum(dim=1)
        side = weight.shape[-1]
        tokens = slices.shape[-1] // side
        patches = slices.reshape(-1, tokens, side, tokens, side).transpose(2, 3).flatten(3)
        return F.linear(patches, weight.flatten(1), self.patch_embed.proj.bias)
