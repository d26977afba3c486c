# SPDX-License-Identifier: Apache-2.0
"""What the server makes of the sites' adapters: one class a strategy, chosen in the job by name.

A package of others brings a strategy of its own by an entry point, see `config.strategies`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from flap_sam.config.strategies import (
    ALTERNATES,
    AVERAGES_FACTORS,
    KEEPS_A,
    REFACTORISES,
    RENEWS_A,
    SKETCHES,
    StrategyTraits,
    load,
)
from flap_sam.errors import FlapSamError, Reason
from flap_sam.lowrank.aggregate import DenseSum, StackedSum
from flap_sam.lowrank.factors import Factors, stack
from flap_sam.lowrank.refactorise import Refactorised, refactorise
from flap_sam.lowrank.sketch import (
    SPARE_COLUMNS,
    drawn_matrix,
    from_sketches,
    left_sketch,
    measured,
    most_ranks,
    range_basis,
    right_sketch,
)
from flap_sam.lowrank.tucker import change_factors, tucker2

Tensors = Mapping[str, Tensor]
Total = StackedSum | DenseSum


@dataclass(frozen=True)
class LayerGroup:
    """Layers of one shape, handled in one batch; the paths of their adapters."""

    layers: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.layers[0]


@dataclass(frozen=True)
class Merged:
    """What a group becomes.

    Args:
        tensors: by name.
        kept, residual: by layer, what the truncation kept and dropped (see `refactorise`).
        excess: by layer, the norm that a sketch narrower than the sum drops beyond what the SVD would.
    """

    tensors: dict[str, Tensor]
    kept: dict[str, float]
    residual: dict[str, float]
    excess: dict[str, float] = field(default_factory=dict)


class Strategy(ABC):
    """From the sum of the sites' changes to the next payload.

    Args:
        groups: the layers whose change B A is federated; every tensor outside them is averaged plainly. Empty under a
            strategy that does not sum changes.
        rank, scale: of the payload's adapters.
        split, energy: see `refactorise`; settings that `traits` says are read are handed over by name.

    Attributes:
        traits: what the sites and their gates must know of the class.
    """

    traits: ClassVar[StrategyTraits]

    def __init__(
        self, groups: Sequence[LayerGroup], rank: int, scale: float, split: str = "balanced", energy: float = 1.0
    ) -> None:
        self.groups = tuple(groups)
        self.rank, self.scale, self.split, self.energy = rank, scale, split, energy
        self.start_round(0, 0)

    def factors(self, group: LayerGroup, payload: Tensors) -> Factors:
        """The change that a payload makes to the group's layers."""
        return stack([Factors(payload[f"{path}.A"], payload[f"{path}.B"], self.scale) for path in group.layers])

    def tensor_names(self, group: LayerGroup) -> list[str]:
        """The tensors of a site's payload that the group stands for."""
        return [f"{path}.{factor}" for path in group.layers for factor in "AB"]

    def plain(self, payload: Tensors) -> dict[str, Tensor]:
        """The tensors of a site's payload that belong to no group."""
        grouped = {name for group in self.groups for name in self.tensor_names(group)}
        return {name: tensor for name, tensor in payload.items() if name not in grouped}

    def start_round(self, number: int, seed: int) -> None:
        """Take note of the round whose changes are merged next, and of the experiment's seed."""
        self.round, self.seed = number, seed

    @abstractmethod
    def merge(self, group: LayerGroup, total: Total) -> Merged:
        """The group's next tensors, from the weighted sum of the sites' changes."""

    def state(self) -> dict[str, Tensor]:
        """What the strategy remembers between rounds."""
        return {}

    def restore(self, state: Tensors) -> None:
        """Take up what `state` gave."""
        if state:
            raise ValueError(f"this strategy remembers nothing, yet is given {sorted(state)}")


class Svd(Strategy):
    """B A = best rank-r form of sum_k w_k B_k A_k: FLAP-SAM, arXiv 2407.21739, equations 2 and 3."""

    traits = REFACTORISES

    def merge(self, group: LayerGroup, total: Total) -> Merged:
        return _merged(group, refactorise(total, self.rank, self.scale, self.split, self.energy))


class Residual(Svd):
    """E_t + B A = sum_k w_k B_k A_k + E_(t-1): what one round's truncation drops, the next round gets back.

    Error feedback (Seide et al. 2014; Karimireddy et al., arXiv 1901.09847) applied to the paper's equation 3.
    """

    def __init__(
        self, groups: Sequence[LayerGroup], rank: int, scale: float, split: str = "balanced", energy: float = 1.0
    ) -> None:
        super().__init__(groups, rank, scale, split, energy)
        self._dropped: dict[str, Tensor] = {}

    def merge(self, group: LayerGroup, total: Total) -> Merged:
        whole = total.dense()
        if group.name in self._dropped:
            whole = whole + self._dropped[group.name]
        merged = super().merge(group, DenseSum(whole))
        self._dropped[group.name] = whole - self.factors(group, merged.tensors).change()
        return merged

    def state(self) -> dict[str, Tensor]:
        return dict(self._dropped)

    def restore(self, state: Tensors) -> None:
        self._dropped = dict(state)


class FactorAverage(Strategy):
    """A = sum_k w_k A_k, B = sum_k w_k B_k: every tensor for itself, no layer's change is federated as such.

    This is FedAvg (McMahan et al., arXiv 1602.05629) on the factors; its B A is not the average of the sites' B_k A_k.
    """

    traits = AVERAGES_FACTORS

    def merge(self, group: LayerGroup, total: Total) -> Merged:
        raise ValueError("no layer's change is federated as such")


class FrozenA(FactorAverage):
    """B = sum_k w_k B_k beside an A that stays as drawn, so that averaging B is averaging B A; no A is sent.

    FFA-LoRA, Sun et al., arXiv 2403.12313.
    """

    traits = KEEPS_A


class Alternate(FactorAverage):
    """In even rounds B = sum_k w_k B_k beside a common A, in odd rounds A = sum_k w_k A_k beside a common B.

    Either way B A is the mean of the sites' changes, exact and of rank r. Between two rounds it is split anew as the
    next one needs it (see `lowrank.one_sided`). The factors alternate as in RoLoRA (arXiv 2409.02346).
    """

    traits = ALTERNATES


class FedSvd(FactorAverage):
    """B = sum_k w_k B_k beside a common A, which is V^T of the last mean: FedSVD, arXiv 2505.12805.

    The rows of A turn within the space that they were drawn in, and never leave it.
    """

    traits = RENEWS_A


class Sketch(Svd):
    """The best rank-r form of what a random sketch finds of sum_k w_k B_k A_k (see `sketch`): FedASK, arXiv 2507.09990.

    Args:
        sketch_width: columns of the sketch; None means as many as the sum can have ranks, which leaves nothing out, and
            `SPARE_COLUMNS` more, so that no direction of the sum comes out too faint.
    """

    traits = SKETCHES

    def __init__(
        self,
        groups: Sequence[LayerGroup],
        rank: int,
        scale: float,
        split: str = "balanced",
        energy: float = 1.0,
        sketch_width: int | None = None,
    ) -> None:
        super().__init__(groups, rank, scale, split, energy)
        self.sketch_width = sketch_width

    def merge(self, group: LayerGroup, total: Total) -> Merged:
        most = most_ranks(total)
        width = min(self.sketch_width or most + SPARE_COLUMNS, *total.shape[-2:])
        drawn = [drawn_matrix(total.shape[-1], width, self.seed, self.round, layer) for layer in group.layers]
        basis = range_basis(right_sketch(total, torch.stack(drawn)))
        sketched = from_sketches(basis, left_sketch(total, basis))
        result = measured(refactorise(sketched, self.rank, self.scale, self.split, self.energy), sketched, total)
        merged = _merged(group, result)
        if width >= most:
            return merged
        best = refactorise(total, self.rank, self.scale, energy=self.energy).residual
        excess = (result.residual.square() - best.square()).clamp_min(0).sqrt()
        return replace(merged, excess=_by_layer(group, excess))


class SharedTucker(Strategy):
    """MA-SAM's V S_l U from the averaged changes of all layers, by a Tucker-2 step (see `tucker`).

    Args:
        shared: path of the module that holds U and V; the group's layers are the projections with a core.
    """

    traits = StrategyTraits(sums_changes=True)

    def __init__(self, group: LayerGroup, shared: str, rank: int, scale: float) -> None:
        super().__init__((group,), rank, scale)
        self._u, self._v = f"{shared}.U", f"{shared}.V"

    def factors(self, group: LayerGroup, payload: Tensors) -> Factors:
        cores = torch.stack([payload[f"{path}.core"] for path in group.layers])
        return change_factors(payload[self._u], payload[self._v], cores, self.scale)

    def tensor_names(self, group: LayerGroup) -> list[str]:
        return [self._u, self._v, *(f"{path}.core" for path in group.layers)]

    def merge(self, group: LayerGroup, total: Total) -> Merged:
        result = tucker2(total.dense(), self.rank, self.scale)
        tensors = {f"{path}.core": result.cores[i] for i, path in enumerate(group.layers)}
        kept = dict.fromkeys(group.layers, result.kept.item())
        return Merged({self._u: result.U, self._v: result.V, **tensors}, kept, _by_layer(group, result.residual))


OURS = {
    "svd": Svd,
    "factor-average": FactorAverage,
    "freeze-a": FrozenA,
    "residual": Residual,
    "alternate": Alternate,
    "fedsvd": FedSvd,
    "sketch": Sketch,
}


def strategy_named(name: str) -> type[Strategy]:
    """The class of one of `config.strategies.known`.

    Raises:
        FlapSamError: it comes from another package and cannot be loaded, or is no strategy.
    """
    kind = OURS[name] if name in OURS else load(name)
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise FlapSamError(
            f"Strategy {name!r} is {kind!r}, which is no strategy; expected a class derived from "
            "flap_sam.lowrank.strategies.Strategy.",
            Reason.EXPERIMENT,
        )
    return kind


def _merged(group: LayerGroup, result: Refactorised) -> Merged:
    tensors = {}
    for i, path in enumerate(group.layers):
        tensors[f"{path}.A"], tensors[f"{path}.B"] = result.factors.A[i], result.factors.B[i]
    return Merged(tensors, _by_layer(group, result.kept), _by_layer(group, result.residual))


def _by_layer(group: LayerGroup, values: Tensor) -> dict[str, float]:
    return dict(zip(group.layers, values.tolist(), strict=True))
