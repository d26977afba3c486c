# SPDX-License-Identifier: Apache-2.0
"""A round's updates become one total a group of layers and one mean a plain tensor."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flap_sam.lowrank import robust
from flap_sam.lowrank.aggregate import DenseSum, RunningAverage, RunningSum
from flap_sam.lowrank.factors import Factors
from flap_sam.lowrank.strategies import LayerGroup, Strategy, Total


@dataclass(frozen=True)
class SiteUpdate:
    """One site's checked tensors, float32, and its weight, the number of training slices."""

    site: str
    weight: int
    tensors: Mapping[str, Tensor]

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True)
class Totals:
    """The changes by the group's name, the means (float64) by the tensor's."""

    changes: dict[str, Total]
    means: dict[str, Tensor]


class Gatherer(ABC):
    """Takes a round's updates, some at a time, in the order of the sites' names.

    Args:
        strategy: says which layers' changes are summed; every other tensor of an update is averaged for itself.

    Attributes:
        whole_round: it needs all updates of the round at once, so that no memory is saved by folding some in early.
    """

    whole_round = False

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def plain(self, update: SiteUpdate) -> dict[str, Tensor]:
        """The tensors of an update that belong to no group."""
        return self.strategy.plain(update.tensors)

    @abstractmethod
    def fold(self, updates: Sequence[SiteUpdate]) -> None:
        """Count updates in."""

    @abstractmethod
    def close(self, received: Mapping[str, Tensor]) -> Totals:
        """The totals over all updates; `received` is the payload that the round started from."""


class WeightedMean(Gatherer):
    """sum_k w_k T_k / sum_k w_k (the paper's equation 2). An update may be dropped once it is folded in."""

    def __init__(self, strategy: Strategy) -> None:
        super().__init__(strategy)
        self._sums = {group.name: RunningSum() for group in strategy.groups}
        self._means: dict[str, RunningAverage] = {}

    def fold(self, updates: Sequence[SiteUpdate]) -> None:
        weights = [update.weight for update in updates]
        for group in self.strategy.groups:
            self._sums[group.name].add([self.strategy.factors(group, u.tensors) for u in updates], weights)
        for update in updates:
            for name, tensor in self.plain(update).items():
                self._means.setdefault(name, RunningAverage()).add(tensor, update.weight)

    def close(self, received: Mapping[str, Tensor]) -> Totals:
        changes = {name: running.total() for name, running in self._sums.items()}
        return Totals(changes, {name: running.mean() for name, running in self._means.items()})


class Buffered(Gatherer):
    """A rule that needs all updates of the round at once; its memory grows with the sites.

    What a site changed is measured from the payload that the round started from. Plain tensors of a first round
    have none; their median over the sites stands in.

    Args:
        hostile_share: how large a share of the sites may be hostile or broken; `robust.shortcoming` says among how
            many sites a rule means anything.
    """

    whole_round = True

    def __init__(self, strategy: Strategy, hostile_share: float) -> None:
        super().__init__(strategy)
        self._share = hostile_share
        self._updates: list[SiteUpdate] = []

    def fold(self, updates: Sequence[SiteUpdate]) -> None:
        self._updates += updates

    @property
    def hostile(self) -> int:
        return robust.hostile_sites(self._share, len(self._updates))

    def centre(self, received: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Where the plain tensors stood when the round started, in float64."""
        return {
            name: received[name].double() if name in received else robust.median(self.stacked(name))
            for name in self.plain(self._updates[0])
        }

    def stacked(self, name: str) -> Tensor:
        """A plain tensor of all sites: [K, ...], float64."""
        return torch.stack([update.tensors[name].double() for update in self._updates])

    def gram(self, received: Mapping[str, Tensor]) -> Tensor:
        """Scalar products [K, K] of what the sites changed, over all tensors."""
        gram = sum((self._change_gram(group, received) for group in self.strategy.groups), torch.zeros(()))
        for name, centre in self.centre(received).items():
            moved = (self.stacked(name) - centre).flatten(1)
            gram = gram + moved @ moved.mT
        return gram

    def _change_gram(self, group: LayerGroup, received: Mapping[str, Tensor]) -> Tensor:
        """<D_i - P, D_j - P> from <., .> over the changes D_k and the change P that the round started from."""
        changes = [self.strategy.factors(group, update.tensors) for update in self._updates]
        if not received:
            return robust.gram(changes)
        gram = robust.gram([*changes, self.strategy.factors(group, received)])
        cross, own = gram[:-1, -1], gram[-1, -1]
        return gram[:-1, :-1] - cross.unsqueeze(0) - cross.unsqueeze(1) + own

    def mix(self, weights: Sequence[float], received: Mapping[str, Tensor]) -> Totals:
        """sum_k w_k T_k, and the payload that the round started from with what is missing to 1."""
        rest = max(0.0, 1 - sum(weights))
        changes = {}
        for group in self.strategy.groups:
            factors = [self.strategy.factors(group, update.tensors) for update in self._updates]
            previous = self.strategy.factors(group, received) if received else None
            changes[group.name] = _sum_with(factors, weights, previous, rest)
        means = {}
        for name, centre in self.centre(received).items():
            running = RunningAverage()
            for update, weight in zip(self._updates, weights, strict=True):
                running.add(update.tensors[name], weight)
            running.add(centre, rest)
            means[name] = running.mean()
        return Totals(changes, means)

    def shares(self) -> list[float]:
        """The sites' weights, as shares of 1."""
        whole = sum(update.weight for update in self._updates)
        return [update.weight / whole for update in self._updates]


class Clipped(Buffered):
    """Every site's change is shortened to the median length (see `robust.clip_weights`)."""

    def close(self, received: Mapping[str, Tensor]) -> Totals:
        norms = self.gram(received).diagonal().clamp_min(0).sqrt()
        return self.mix(robust.clip_weights(norms, self.shares()), received)


class Krum(Buffered):
    """The one site's update that lies nearest to the others' (see `robust.krum`)."""

    def close(self, received: Mapping[str, Tensor]) -> Totals:
        chosen = robust.krum(robust.squared_distances(self.gram(received)), self.hostile)
        return self.mix([float(k == chosen) for k in range(len(self._updates))], received)


class Coordinatewise(Buffered):
    """A middle of the sites, number by number: every site counts alike, whatever its slices say.

    Args:
        middle: from [K, ...] and the number of hostile sites to [...].
    """

    def __init__(self, strategy: Strategy, hostile_share: float, middle: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__(strategy, hostile_share)
        self._middle = middle

    def close(self, received: Mapping[str, Tensor]) -> Totals:
        changes: dict[str, Total] = {group.name: DenseSum(self._layers(group)) for group in self.strategy.groups}
        names = self.plain(self._updates[0])
        return Totals(changes, {name: self._middle(self.stacked(name), self.hostile) for name in names})

    def _layers(self, group: LayerGroup) -> Tensor:
        """Layer by layer: the dense changes of all sites fit in memory for one layer, not for all."""
        factors = [self.strategy.factors(group, update.tensors) for update in self._updates]
        layers = []
        for i in range(len(group.layers)):
            dense = torch.stack([Factors(f.A[i], f.B[i], f.scale).change() for f in factors])
            layers.append(self._middle(dense, self.hostile))
        return torch.stack(layers)


def gatherer(rule: str, strategy: Strategy, hostile_share: float) -> Gatherer:
    """The gatherer of a name of `experiment.ROBUST_RULES`."""
    if rule == "trimmed-mean":
        return Coordinatewise(strategy, hostile_share, robust.trimmed_mean)
    if rule == "median":
        return Coordinatewise(strategy, hostile_share, lambda stacked, _: robust.median(stacked))
    if rule == "clip":
        return Clipped(strategy, hostile_share)
    return Krum(strategy, hostile_share) if rule == "krum" else WeightedMean(strategy)


def _sum_with(factors: list[Factors], weights: Sequence[float], previous: Factors | None, rest: float) -> Total:
    running = RunningSum()
    running.add(factors, weights)
    if previous is not None:
        running.add([previous], [rest])
    elif rest:
        nothing = Factors(torch.zeros_like(factors[0].A), torch.zeros_like(factors[0].B), factors[0].scale)
        running.add([nothing], [rest])
    return running.total()
