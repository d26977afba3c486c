# SPDX-License-Identifier: Apache-2.0
"""The whole network: windows of slices in, class logits out."""

import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn

from flap_sam.sam.decoder import MaskDecoder16x
from flap_sam.sam.encoder import ImageEncoder


class GridPrompt(PromptEncoder):
    """SAM's prompt encoder, asked for nothing or for a regular grid of foreground points.

    Args:
        grid: points a side; 0 means no prompts: the "no mask" dense embedding and an empty sparse prompt.
    """

    def __init__(self, width: int, tokens: int, image_size: int, grid: int) -> None:
        super().__init__(width, (tokens, tokens), (image_size, image_size), mask_in_chans=16)
        self.grid = grid
        unused = ("not_a_point_embed", "point_embeddings") if grid == 0 else ()
        self.parameter_groups = dict.fromkeys((*unused, "mask_downscaling"), "prompt_unused")

    def forward(self) -> tuple[Tensor, Tensor]:  # type: ignore[override] # SAM's takes a user's prompts
        """Sparse [1, points, width] and dense [1, width, tokens, tokens] embeddings, the same for every slice."""
        return super().forward(self._points() if self.grid else None, None, None)

    def _points(self) -> tuple[Tensor, Tensor]:
        height, width = self.input_image_size
        device = self.no_mask_embed.weight.device
        places = (torch.arange(self.grid, device=device) + 0.5) / self.grid
        y, x = torch.meshgrid(places * height, places * width, indexing="ij")
        points = torch.stack([x, y], dim=-1).reshape(1, -1, 2) - 0.5
        return points, torch.ones(points.shape[:2], device=device)


class FlapSam(nn.Module):
    """SAM for windows of neighbouring slices; its parts carry segment_anything's names.

    In `parameter_groups` here and in the layers below each declares which group of the network its children belong to;
    `methods` says which groups train. The nearest declaration counts.
    """

    parameter_groups = {"image_encoder": "encoder", "prompt_encoder": "prompt", "mask_decoder": "decoder"}

    def __init__(self, image_encoder: ImageEncoder, prompt_encoder: GridPrompt, mask_decoder: MaskDecoder16x) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    def forward(self, windows: Tensor) -> Tensor:
        """Logits of windows of grey slices.

        Args:
            windows: [b, n, S, S], intensities in [0, 1].

        Returns:
            [b, n, classes + 1, S, S].
        """
        return self.decode(self.encode(windows))

    def encode(self, windows: Tensor) -> Tensor:
        """Image embeddings [b, n, width, S / 16, S / 16] of windows [b, n, S, S]."""
        return self.image_encoder(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])

    def decode(self, embeddings: Tensor) -> Tensor:
        """Logits [b, n, classes + 1, S, S] of what `encode` gave."""
        sparse, dense = self.prompt_encoder()
        positions = self.prompt_encoder.get_dense_pe()
        logits = self.mask_decoder(embeddings.flatten(0, 1), positions, sparse, dense)
        return logits.unflatten(0, embeddings.shape[:2])
