# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters on a linear projection y = W x + b: LoRA, DoRA and MoLE.

Every adapter is called with the input x, the plain output y, and W and b, and returns the adapted output.
With B = 0 each returns y bit for bit.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flap_sam.config.strategies import TOGETHER, Role, Roles
from flap_sam.sam.initial import gaussian

FACTOR_GROUPS: dict[Role, str] = {
    "trained": "lora",
    "even": "lora_even",
    "odd": "lora_odd",
    "renewed": "lora_renewed",
    "frozen": "lora_frozen",
}
"""The group of parameters that a factor belongs to, by its role."""


class LoRA(nn.Module):
    """y + alpha B (A x): Hu et al., "LoRA", arXiv 2106.09685, equation 3; in the paper section 2.2.

    Args:
        d_in, d_out: widths of the projection.
        rank: r; A is [r, d_in], Gaussian; B is [d_out, r], zero.
        alpha: scale of the weight change.
        roles: when A and B train and travel.
    """

    def __init__(self, d_in: int, d_out: int, rank: int, alpha: float, roles: Roles = TOGETHER) -> None:
        super().__init__()
        self.alpha = alpha
        self.parameter_groups = {"A": FACTOR_GROUPS[roles.A], "B": FACTOR_GROUPS[roles.B]}
        self.A = nn.Parameter(torch.empty(rank, d_in))
        self.B = nn.Parameter(torch.empty(d_out, rank))

    def initial(self, name: str, generator: torch.Generator) -> Tensor:
        """Start of the parameter `name`: A ~ N(0, 1 / d_in); B 0."""
        shape = getattr(self, name).shape
        return gaussian(shape, 1 / math.sqrt(shape[1]), generator) if name == "A" else torch.zeros(shape)

    def change(self, x: Tensor) -> Tensor:
        """alpha B (A x) for x [..., d_in]: [..., d_out]."""
        return F.linear(self._hidden(x), self.B)

    def forward(self, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.addmm(y.flatten(0, -2), self._hidden(x).flatten(0, -2), self.B.mT).view(y.shape)

    def _hidden(self, x: Tensor) -> Tensor:
        return self.alpha * F.linear(x, self.A)


class DoRA(LoRA):
    """m (W + alpha B A) x / ||W + alpha B A|| + b: Liu et al., "DoRA", arXiv 2402.09353, equation 5.

    The norm is taken over each output row and, as in PEFT, no gradient flows through it (section 4.3 there).
    The magnitude m [d_out] starts as ||W||, so that the start changes nothing.
    """

    def __init__(self, d_in: int, d_out: int, rank: int, alpha: float, roles: Roles = TOGETHER) -> None:
        super().__init__(d_in, d_out, rank, alpha, roles)
        self.parameter_groups = {**self.parameter_groups, "magnitude": "magnitude"}
        self.magnitude = nn.Parameter(torch.empty(d_out))

    def initial(self, name: str, generator: torch.Generator) -> Tensor:
        if name == "magnitude":
            return torch.ones(self.magnitude.shape)
        return super().initial(name, generator)

    @torch.no_grad()
    def row_norms(self, weight: Tensor) -> Tensor:
        """||W + alpha B A|| by output row: [d_out]."""
        return torch.linalg.vector_norm(weight + self.alpha * (self.B @ self.A), dim=1)

    def forward(self, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ratio = self.magnitude / self.row_norms(weight)
        return y + (ratio - 1) * (y - bias) + ratio * self.change(x)


class MixtureWeights(nn.Module):
    """Weights of a mixture of n experts: softmax(sigmoid(g)), g [n]. Personal: it never leaves the site."""

    parameter_groups = {"logits": "gate"}

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.empty(experts))

    def initial(self, name: str, generator: torch.Generator) -> Tensor:
        return torch.zeros(self.logits.shape)

    def forward(self) -> Tensor:
        return torch.softmax(torch.sigmoid(self.logits), dim=0)


class MoLE(nn.Module):
    """y + alpha sum_i w_i B_i (A_i x), w = softmax(sigmoid(g)): the paper's mixture of LoRA experts (section 3.4).

    The gate belongs to the attention layer: its query and value projections share one.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        rank: int,
        alpha: float,
        gate: MixtureWeights,
        experts: int,
        roles: Roles = TOGETHER,
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(LoRA(d_in, d_out, rank, alpha, roles) for _ in range(experts))
        self._gate = [gate]  # in a list: the attention layer owns it, it is not a submodule here

    def shares(self) -> Tensor:
        """What each expert counts for: w [experts], of sum 1."""
        return self._gate[0]()

    def forward(self, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        for expert, share in zip(self.experts, self.shares(), strict=True):
            y = y + share * cast(LoRA, expert).change(x)
        return y


def low_rank_pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Names of A and B of every low-rank pair in the network."""
    return [(f"{path}.A", f"{path}.B") for path, module in network.named_modules() if isinstance(module, LoRA)]
