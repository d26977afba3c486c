# SPDX-License-Identifier: Apache-2.0
"""MA-SAM's two kinds of adapters: FacT-TT on the projections, and 3D adapters that let the slices of a window mix."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flap_sam.sam.encoder import EncoderBlock
from flap_sam.sam.initial import gaussian

SLICE_ADAPTER_WIDTH = 384
CORE_DROPOUT = 0.1


class SharedFactors(nn.Module):
    """The factors U [r, d] and V [d, r] that all encoder layers share."""

    parameter_groups = {"U": "fact", "V": "fact"}

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.empty(rank, width))
        self.V = nn.Parameter(torch.empty(width, rank))

    def initial(self, name: str, generator: torch.Generator) -> Tensor:
        """U ~ N(0, 1 / d); V = 0, so that the start changes nothing."""
        if name == "V":
            return torch.zeros(self.V.shape)
        return gaussian(self.U.shape, 1 / math.sqrt(self.U.shape[1]), generator)


class FacT(nn.Module):
    """y + alpha V drop(S (U x)): FacT-TT, Jie and Deng, arXiv 2212.03145, equation 5, with MA-SAM's dropout.

    Args:
        shared: U and V of all layers; the core S [r, r] is this projection's own.
    """

    parameter_groups = {"core": "fact"}

    def __init__(self, shared: SharedFactors, alpha: float) -> None:
        super().__init__()
        rank = shared.U.shape[0]
        self.alpha = alpha
        self.core = nn.Parameter(torch.empty(rank, rank))
        self._shared = [shared]  # in a list: the encoder owns it, it is not a submodule here

    def initial(self, name: str, generator: torch.Generator) -> Tensor:
        return gaussian(self.core.shape, 1 / math.sqrt(self.core.shape[1]), generator)

    def forward(self, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        shared = self._shared[0]
        hidden = F.dropout(F.linear(F.linear(x, shared.U), self.core), CORE_DROPOUT, self.training)
        return y + self.alpha * F.linear(hidden, shared.V)


class SliceAdapter(nn.Module):
    """x + up(GELU(conv(down(norm(x))))): the 3D adapter of MA-SAM, Chen et al., arXiv 2309.08842, section 3.2.

    The 3x1x1 convolution runs along the slices of a window.

    Args:
        width: of the tokens.
        slices: in a window.
    """

    def __init__(self, width: int, slices: int) -> None:
        super().__init__()
        self.slices = slices
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.down = nn.Linear(width, SLICE_ADAPTER_WIDTH, bias=False)
        self.conv = nn.Conv3d(SLICE_ADAPTER_WIDTH, SLICE_ADAPTER_WIDTH, (3, 1, 1), padding=(1, 0, 0))
        self.up = nn.Linear(SLICE_ADAPTER_WIDTH, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [windows * slices, h, w, width] to the same."""
        hidden = self.down(self.norm(x)).unflatten(0, (-1, self.slices))
        hidden = self.conv(hidden.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
        return x + self.up(F.gelu(hidden.flatten(0, 1)))


class SliceMixingBlock(EncoderBlock):
    """SAM's encoder block with a 3D adapter before the attention and one before the MLP."""

    parameter_groups = {"attention_slices": "slice_adapter", "mlp_slices": "slice_adapter"}

    def __init__(self, width: int, heads: int, slices: int) -> None:
        super().__init__(width, heads)
        self.attention_slices = SliceAdapter(width, slices)
        self.mlp_slices = SliceAdapter(width, slices)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_slices(x)
        x = x + self.attn(self.norm1(x))
        x = self.mlp_slices(x)
        return x + self.mlp(self.norm2(x))
