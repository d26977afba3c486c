# SPDX-License-Identifier: Apache-2.0
"""SAM's image encoder for grey slices, its maps with the channels last."""

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Block
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from flap_sam.sam.maps import layer_norm


class EncoderBlock(Block):
    """SAM's encoder block around an attention that cuts its own windows (`attention.EncoderAttention`)."""

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [b, h, w, width] to the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ImageEncoder(ImageEncoderViT):
    """Grey slices to embeddings."""

    _recomputes = False

    def recompute_blocks(self) -> None:
        """From now on keep only each block's input for the backward pass, and compute the rest there again."""
        self._recomputes = True
        for block in self.blocks:
            block.attn.remakes = False

    def forward(self, slices: Tensor) -> Tensor:
        """Slices [b, S, S], intensities in [0, 1], to embeddings [b, width, S / 16, S / 16]."""
        x = self._patches(slices) + self.pos_embed
        recompute = self._recomputes and torch.is_grad_enabled()
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        narrow, first_norm, smooth, second_norm = self.neck
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
