# SPDX-License-Identifier: Apache-2.0
"""Where a tensor starts when no checkpoint holds it: drawn from the run's seed and the tensor's own name.

So a tensor's start depends neither on the order of the others nor on who draws it.
"""

import hashlib
import math

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

POSITION_SPREAD = 0.02


def initial(network: nn.Module, full_name: str, seed: int) -> Tensor:
    """The start of a parameter or buffer of a network that may be on the meta device."""
    path, _, name = full_name.rpartition(".")
    module = network.get_submodule(path)
    shape = getattr(module, name).shape
    digest = hashlib.sha256(f"{seed}/{full_name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    if (own := getattr(module, "initial", None)) is not None:
        return own(name, generator)
    if isinstance(module, nn.LayerNorm | LayerNorm2d):
        return torch.ones(shape) if name == "weight" else torch.zeros(shape)
    if name == "bias":
        return torch.zeros(shape)
    return gaussian(shape, _spread(module, name, shape), generator)


def gaussian(shape: torch.Size, spread: float, generator: torch.Generator) -> Tensor:
    """Numbers of mean 0, drawn in float64: there every machine draws the same bits."""
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * spread).float()


def _spread(module: nn.Module, name: str, shape: torch.Size) -> float:
    """Standard deviation that keeps a layer's output at its input's scale."""
    if isinstance(module, nn.ConvTranspose2d):
        return 1 / math.sqrt(shape[0])  # stride = kernel: each output pixel sums over the input channels once
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
        return 1 / math.sqrt(math.prod(shape[1:]))
    if name in ("pos_embed", "rel_pos_h", "rel_pos_w"):
        return POSITION_SPREAD
    return 1.0
