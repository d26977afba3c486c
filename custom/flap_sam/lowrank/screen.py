# SPDX-License-Identifier: Apache-2.0
"""Which updates of a round stand out by their norm and do not count."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from flap_sam.lowrank import robust
from flap_sam.lowrank.factors import Factors, leading
from flap_sam.lowrank.gather import SiteUpdate
from flap_sam.lowrank.strategies import LayerGroup, Strategy

FEWEST_SITES = 3
LARGEST_RATIO = 2.0**16  # of factors to their product; see `Norms`

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Norms:
    """Frobenius norms of an update, float64.

    Args:
        adapters: of B A over all layers; others: of all other tensors together.
        change: of what the site changed, sqrt(sum ||B A - B' A'||^2 + sum ||T - T'||^2), where B', A' and T' are what
            it received.
        factors: sum ||B|| ||A|| over all layers.
    """

    adapters: float
    others: float
    change: float
    factors: float

    @property
    def cancels(self) -> bool:
        """Whether factors cancel in their product so far that rounding decides what it is.

        In float64 a product is exact up to some 2^-52 times `factors`, its norm as it is measured here up to some
        2^-26 times `factors`. Factors that are far larger than their product would pass every limit on norms, and leave
        nothing but rounding in the sum, as large as they like.
        """
        return self.factors > LARGEST_RATIO * max(self.adapters, 1.0)


class Screen:
    """Judges the updates of a round, block by block.

    An update is refused whose factors cancel, so that its norms say nothing; whose change is beyond the absolute limit;
    and, among three sites or more, whose adapters or
    other tensors are more than so many times the median of the *other* sites in norm. Refused updates are no measure
    for others. Within a block the order does not matter; a later block is judged by the median over all that came
    before it too, an earlier one is not judged again.

    Args:
        received: the payload that the round started from. In a first round it is empty: adapters start from no
            change, and for every other tensor the middle of the first block, number by number, stands in for where
            the sites started.
        relative: how many times the others' median; absolute: of the change. None means any.
    """

    def __init__(self, strategy: Strategy, received: Tensors, relative: float | None, absolute: float | None) -> None:
        self._strategy, self._received, self._start = strategy, received, received
        self._relative, self._absolute = relative, absolute
        self._standing: dict[str, Norms] = {}
        self.norms: dict[str, Norms] = {}
        self.refused: dict[str, str] = {}

    def judge(self, block: Sequence[SiteUpdate]) -> list[SiteUpdate]:
        """The updates of a block that count."""
        if not self._start and block:
            self._start = self._middle(block)
        found = {update.site: self._measured(update) for update in block}
        self.norms |= found
        self.refused |= {site: reason for site, n in found.items() if (reason := self._beyond(n))}
        self._standing |= {site: norms for site, norms in found.items() if site not in self.refused}
        apart = {s: reason for s in found if s in self._standing and (reason := self._apart(s))}
        self.refused |= apart
        self._standing = {site: norms for site, norms in self._standing.items() if site not in apart}
        return [update for update in block if update.site not in self.refused]

    def _beyond(self, norms: Norms) -> str | None:
        if norms.cancels:
            return (
                f"the factors of its adapters have norm {norms.factors:.4g} and cancel to {norms.adapters:.4g}; "
                "expected factors of the size of their product"
            )
        if self._absolute is None or norms.change <= self._absolute:
            return None
        return f"the norm of its change is {norms.change:.4g}; expected at most {self._absolute:g} (largest_norm)"

    def _apart(self, site: str) -> str | None:
        """How a site stands apart from the others; None where it does not, or they are too few to tell."""
        if self._relative is None or len(self._standing) < FEWEST_SITES:
            return None
        for kind, what in (("adapters", "B A"), ("others", "its other tensors")):
            norm = getattr(self._standing[site], kind)
            median = statistics.median(getattr(n, kind) for other, n in self._standing.items() if other != site)
            if norm > self._relative * median:
                return (
                    f"the norm of {what} is {norm:.4g}, the median of the others {median:.4g}; expected at most "
                    f"{self._relative:g} times the median (norm_limit)"
                )
        return None

    def _measured(self, update: SiteUpdate) -> Norms:
        adapters = others = change = factors = 0.0
        for group in self._strategy.groups:
            sent = self._strategy.factors(group, update.tensors)
            gram = robust.gram([sent, *self._before(update, group)])
            factors += sent.sizes().sum().item()
            adapters += gram[0, 0].item()
            change += robust.squared_distances(gram)[0, -1].item() if len(gram) > 1 else gram[0, 0].item()
        for name, tensor in self._strategy.plain(update.tensors).items():
            others += tensor.double().square().sum().item()
            change += (tensor.double() - self._start[name]).square().sum().item()
        return Norms(sqrt(max(adapters, 0)), sqrt(others), sqrt(max(change, 0)), factors)

    def _before(self, update: SiteUpdate, group: LayerGroup) -> list[Factors]:
        """The group's adapters as the site received them, with its own rank; none in a first round."""
        names = self._strategy.tensor_names(group) if self._received else []
        shapes = {name: update.tensors[name].shape for name in names}
        received = {name: leading(self._received[name], shape) for name, shape in shapes.items()}
        return [self._strategy.factors(group, received)] if received else []

    def _middle(self, block: Sequence[SiteUpdate]) -> Tensors:
        names = self._strategy.plain(block[0].tensors)
        return {name: robust.median(torch.stack([update.tensors[name] for update in block])) for name in names}
