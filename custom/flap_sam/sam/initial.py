"""Where a tensor starts when no checkpoint holds it: drawn from the run's seed and the tensor's own name.

So a tensor's start depends neither on the order of the others nor on who draws it.
"""

import hashlib
import math

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

POSITION_SPREAD = 0.02


def initial_state(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """A start for every parameter and buffer of a network that may be on the meta device."""
    state = {}
    for path, module in network.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in own:
            full = f"{path}.{name}" if path else name
            state[full] = _initial(module, name, tensor.shape, _generator(seed, full))
    return state


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _initial(module: nn.Module, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    if hasattr(module, "initial"):
        return module.initial(name, generator)
    if isinstance(module, nn.LayerNorm | LayerNorm2d):
        return torch.ones(shape) if name == "weight" else torch.zeros(shape)
    if name == "bias":
        return torch.zeros(shape)
    return torch.randn(shape, generator=generator) * _spread(module, name, shape)


def _spread(module: nn.Module, name: str, shape: torch.Size) -> float:
    """Standard deviation that keeps a layer's output at its input's scale."""
    if isinstance(module, nn.ConvTranspose2d):
        return 1 / math.sqrt(shape[0])  # stride = kernel: each output pixel sums over the input channels once
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
        return 1 / math.sqrt(math.prod(shape[1:]))
    if name in ("pos_embed", "rel_pos_h", "rel_pos_w"):
        return POSITION_SPREAD
    return 1.0
