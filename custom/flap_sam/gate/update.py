# SPDX-License-Identifier: Apache-2.0
"""What a site changed in a round, and how much that is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt

import torch
from torch import Tensor

from flap_sam.config.experiment import Experiment
from flap_sam.config.site import Site
from flap_sam.lowrank.canonical import is_canonical
from flap_sam.lowrank.factors import Factors, leading
from flap_sam.lowrank.robust import gram, squared_distances
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.methods import parameter_table
from flap_sam.sam.weights import weights_for
from flap_sam.wire.form import in_canonical_form, summed_pairs, turning_pairs

Tensors = Mapping[str, Tensor]

BISECTIONS = 24


class Base:
    """The tensors that a site's updates are measured from: what it received, or where it started.

    Adapters that travel in canonical form start as the canonical form of nothing, zeros.

    Args:
        experiment: the job's, with the site's own rank.
        site: whose weights the network starts from.

    Attributes:
        experiment: with backbone and image size resolved.
        pairs: names of A and B of every adapter that travels in canonical form; turning: of every one of which one
            factor is fixed in a round.
    """

    def __init__(self, experiment: Experiment, site: Site) -> None:
        weights = weights_for(experiment.backbone, site.checkpoint, site.checkpoint_sha256)
        network, self.experiment, _ = network_for(experiment, weights.file, weights.pin)
        parameters = dict(network.named_parameters())
        tensors = [t for t in parameter_table(network, experiment.method) if t.sent]
        self._start = {t.name: parameters[t.name].detach().clone() for t in tensors}
        self.pairs = summed_pairs(network, experiment)
        self.turning = turning_pairs(network, experiment)
        self._start |= {name: torch.zeros_like(self._start[name]) for pair in self.pairs for name in pair}

    def distance(self, received: Tensors) -> "Change":
        """How far a payload is from where every site started: adapters by their products, whichever factor is fixed."""
        return Change(self.before(received), self.before({}), self.pairs + self.turning, self.experiment.alpha)

    def before(self, received: Tensors) -> dict[str, Tensor]:
        """Every tensor that is sent, as it stood before a round that started from the payload received, if any."""
        if not received:
            return dict(self._start)
        return {name: leading(received[name], start.shape).float() for name, start in self._start.items()}


@dataclass(frozen=True)
class Change:
    """A site's tensors and the base they are measured from, float32.

    Args:
        pairs: names of A and B of every adapter that counts by its product; scale: its alpha.
    """

    sent: Tensors
    base: Tensors
    pairs: list[tuple[str, str]]
    scale: float

    def norm(self) -> float:
        """sqrt(sum ||BA - B'A'||^2 + sum ||T - T'||^2), exact, in float64.

        Adapters in canonical form count by what they do, all other tensors by themselves: whatever a tensor holds is
        bounded with its norm. A factor that travels beside a fixed, orthonormal one moves as far as their product does,
        but for its alpha; beside one as drawn, in a round without a payload, about as far. The norm bounds how large
        numbers are, not how many bits they carry: the low bits of a float32 hold a byte a number at no norm (see
        `release.rounded`).
        """
        squares = 0.0
        for a, b in self.pairs:
            now = Factors(self.sent[a], self.sent[b], self.scale)
            then = Factors(self.base[a], self.base[b], self.scale)
            squares += squared_distances(gram([now, then]))[0, 1].item()
        return sqrt(squares + sum(self._difference(name).square().sum().item() for name in self._others()))

    def largest_factor(self) -> float:
        """The norm of all A together or of all B together, whichever is larger, of adapters in canonical form.

        Factors may be huge where their product is not: they cancel, or meet a factor of zeros. `norm` is then what
        rounding leaves of them, and the network computes with the factors.
        """
        sides = zip(*self.pairs, strict=True)
        return max(
            (sqrt(sum(self.sent[n].double().square().sum().item() for n in side)) for side in sides), default=0.0
        )

    def clipped_to(self, largest: float) -> "Change":
        """The update drawn towards its base until its norm is at most `largest`, and little less.

        B A is not linear in how far the tensors are drawn, so the share that stays is found by bisection.
        """
        if self.norm() <= largest:
            return self
        low, high = 0.0, 1.0
        for _ in range(BISECTIONS):
            share = (low + high) / 2
            low, high = (share, high) if self._drawn(share).norm() <= largest else (low, share)
        return self._drawn(low)

    def are_canonical(self, dtype: torch.dtype) -> bool:
        """Whether all adapters that must be in canonical form are, up to the rounding of a type."""
        return all(is_canonical(Factors(self.sent[a], self.sent[b]), dtype) for a, b in self.pairs)

    def _difference(self, name: str) -> Tensor:
        return self.sent[name].double() - self.base[name].double()

    def _others(self) -> list[str]:
        paired = {name for pair in self.pairs for name in pair}
        return [name for name in self.sent if name not in paired]

    def _drawn(self, share: float) -> "Change":
        sent = {n: torch.lerp(self.base[n].double(), t.double(), share).float() for n, t in self.sent.items()}
        return replace(self, sent=in_canonical_form(sent, self.pairs))
