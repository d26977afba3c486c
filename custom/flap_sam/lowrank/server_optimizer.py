# SPDX-License-Identifier: Apache-2.0
"""Optimizers of the server, on the global change: Reddi et al., "Adaptive Federated Optimization", arXiv 2003.00295."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

BETA_1, BETA_2, TAU = 0.9, 0.99, 1e-3


class ServerOptimizer(ABC):
    """x + step(D), D the sites' mean minus the payload that the round started from: algorithm 2 there.

    All arithmetic and the moments are float64. A tensor's moments start when it first appears.

    Args:
        rate: the server's learning rate eta; None means the rule's own.
    """

    default_rate: float
    moments: Mapping[str, float]

    def __init__(self, rate: float | None) -> None:
        self.rate = self.default_rate if rate is None else rate
        self._state: dict[str, Tensor] = {}

    def step(self, previous: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The next global tensors, float64, for the names of `target`."""
        stepped = {}
        for name, mean in target.items():
            before = previous[name].double()
            gradient = mean.double() - before
            before_it = {
                moment: self._state.get(f"{moment}/{name}", torch.full_like(gradient, start))
                for moment, start in self.moments.items()
            }
            moments, direction = self._direction(gradient, before_it)
            self._state |= {f"{moment}/{name}": value for moment, value in moments.items()}
            stepped[name] = before + self.rate * direction
        return stepped

    @abstractmethod
    def _direction(self, gradient: Tensor, moments: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """The new moments and the direction of the step."""

    def state(self) -> dict[str, Tensor]:
        """The moments, by moment and tensor name."""
        return dict(self._state)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state` gave."""
        self._state = dict(state)


class Momentum(ServerOptimizer):
    """m = 0.9 m + 0.1 D: FedAvgM, Hsu et al., arXiv 1909.06335, damped so that rate 1 keeps the sites' own length."""

    default_rate = 1.0
    moments = {"m": 0.0}

    def _direction(self, gradient: Tensor, moments: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        m = BETA_1 * moments["m"] + (1 - BETA_1) * gradient
        return {"m": m}, m


class Adam(ServerOptimizer):
    """m / (sqrt(v) + tau) with v = 0.99 v + 0.01 D^2: FedAdam.

    A step moves a number by about the rate; the entries of a weight change are thousandths, hence the default.
    """

    default_rate = 1e-3
    moments = {"m": 0.0, "v": TAU**2}

    def _direction(self, gradient: Tensor, moments: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        m = BETA_1 * moments["m"] + (1 - BETA_1) * gradient
        v = self._second(moments["v"], gradient.square())
        return {"m": m, "v": v}, m / (v.sqrt() + TAU)

    def _second(self, v: Tensor, squared: Tensor) -> Tensor:
        return BETA_2 * v + (1 - BETA_2) * squared


class Yogi(Adam):
    """As `Adam`, with v = v - 0.01 D^2 sign(v - D^2): FedYogi."""

    def _second(self, v: Tensor, squared: Tensor) -> Tensor:
        return v - (1 - BETA_2) * squared * torch.sign(v - squared)


def server_optimizer(name: str, rate: float | None) -> ServerOptimizer | None:
    """The optimizer of a name of `experiment.SERVER_OPTIMIZERS`; None for "none"."""
    kinds: dict[str, type[Momentum | Adam]] = {"momentum": Momentum, "adam": Adam, "yogi": Yogi}
    return kinds[name](rate) if name != "none" else None
