# SPDX-License-Identifier: Apache-2.0
"""The server's arithmetic: the sites' updates of a round become the next payload."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError
from flap_sam.lowrank.aggregate import DenseSum
from flap_sam.lowrank.factors import leading
from flap_sam.lowrank.gather import SiteUpdate, Totals, gatherer
from flap_sam.lowrank.robust import shortcoming
from flap_sam.lowrank.screen import Norms, Screen
from flap_sam.lowrank.server_optimizer import server_optimizer
from flap_sam.lowrank.shares import capped, most_capped
from flap_sam.lowrank.strategies import LayerGroup, SharedTucker, Strategy, Total, strategy_named
from flap_sam.sam.adapters import low_rank_pairs
from flap_sam.sam.build import build
from flap_sam.sam.fact import FacT
from flap_sam.sam.initial import initial
from flap_sam.wire import encoding, payload
from flap_sam.wire.encoding import WireType
from flap_sam.wire.form import fixed_names, in_form_of_round, turning_pairs

BLOCK_SITES = 32
BLOCK_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Merged:
    """What a round came to.

    Args:
        payload: the new one, float32, rounded as the wire rounds it; empty where no site is left.
        norms: of the updates, by site; refused: for their norms, by site, and why.
        counted: the slices that a site counted for.
        kept: of every adapted layer, the share of the squared norm that the truncation kept; residual: the norm that it
            dropped; excess: where a sketch was too narrow, what it dropped beyond the SVD (see `lowrank.sketch`).
    """

    payload: dict[str, Tensor]
    norms: Mapping[str, Norms]
    refused: Mapping[str, str]
    counted: Mapping[str, int]
    kept: dict[str, float] = field(default_factory=dict)
    residual: dict[str, float] = field(default_factory=dict)
    excess: dict[str, float] = field(default_factory=dict)


class Aggregator:
    """Averages what the adapters do and refactorises it; averages everything else that is sent (paper, section 2.3).

    Updates are held in blocks of up to `BLOCK_SITES` or `BLOCK_BYTES`; a full block is judged by its norms (see
    `lowrank.screen`) and folded in, in the order of the sites' names. Memory does not grow with the number of sites,
    and a round that fits into one block gives the same bits whatever the order of arrival. The few sites with most
    slices are kept back until the round closes: only then it is known what they may weigh (see `lowrank.shares`).
    Robust rules need a whole round at once, and hold it.
    """

    def begin(self, experiment: Experiment, policy: RunPolicy) -> None:
        """Expect rounds of this resolved experiment."""
        self.experiment, self.policy = experiment, policy
        network = build(experiment)
        self.strategy = strategy_for(experiment, network)
        self._turning = turning_pairs(network, experiment)
        self._start = {a: initial(network, a, experiment.seed) for a, _ in self._turning}
        self._optimizer = server_optimizer(experiment.server_optimizer, experiment.server_learning_rate)
        self.start_round({}, 0)

    def start_round(self, received: Mapping[str, Tensor], number: int) -> None:
        """Expect the answers of a round to a payload; empty where each site starts by itself."""
        self._received, self._number = received, number
        self._types: dict[int, Mapping[str, WireType]] = {}
        self.strategy.start_round(number, self.experiment.seed)
        self._gatherer = gatherer(self.experiment.robust, self.strategy, self.experiment.hostile_share)
        self._screen = Screen(self.strategy, self._received, self.policy.norm_limit, self.policy.largest_norm)
        self._buffered: list[SiteUpdate] = []
        self._kept_back: list[SiteUpdate] = []
        self._slices: dict[str, int] = {}

    def accept(self, site: str, slices: int, sent: object) -> dict[str, Tensor]:
        """Count a site in, after its whole update has been checked; the update as it came.

        Args:
            slices: that it has trained on; sent: its update as it came.

        Raises:
            FlapSamError: the update differs from the template, the site has no slices, more than it is registered
                with, or came before.
        """
        if site in self._slices:
            raise FlapSamError(f"{site} sent a second update in one round; the first counts.")
        registered = self.policy.largest_slices.get(site, slices)
        if not 1 <= slices <= registered:
            expected = f"1 to {registered}, its registered number" if slices > registered else "1 or more"
            raise FlapSamError(f"{site} reports {slices} training slices; expected {expected}.")
        experiment = self.experiment.at(site)
        checked = payload.check(sent, self._types_of(experiment))
        update = SiteUpdate(site, slices, self._decode(experiment, checked))
        self._slices[site] = slices
        self._buffered.append(update)
        held = len(self._buffered) + len(self._kept_back)
        if not self._gatherer.whole_round and (held >= BLOCK_SITES or held * update.bytes >= BLOCK_BYTES):
            self._fold()
        return checked

    def close(self) -> Merged:
        """End the round.

        Raises:
            FlapSamError: the sum left the range of float32, or too few sites are left for the experiment's robust
                rule.
        """
        self._judge()
        counted = capped(self._standing(), self.policy.largest_share)
        if not counted:
            return Merged({}, self._screen.norms, self._screen.refused, counted)
        self._require_enough(len(counted))
        rest = [replace(update, weight=counted[update.site]) for update in self._kept_back]
        if rest:
            self._gatherer.fold(sorted(rest, key=lambda update: update.site))
        totals = self._stepped(self._gatherer.close(self._received))
        merged = Merged(dict(totals.means), self._screen.norms, self._screen.refused, counted)
        for group in self.strategy.groups:
            of_group = self.strategy.merge(group, totals.changes[group.name])
            merged.payload.update(of_group.tensors)
            merged.kept.update(of_group.kept)
            merged.residual.update(of_group.residual)
            merged.excess.update(of_group.excess)
        following = self._number + 1
        whole = in_form_of_round(self._fixed() | merged.payload, self.experiment, self._turning, following)
        self.start_round({}, following)  # lets go of the updates
        return replace(merged, payload=self._rounded(whole))

    def _fixed(self) -> dict[str, Tensor]:
        """The factors that the round left as they were, at all sites alike."""
        names = fixed_names(self.experiment, self._turning, self._number)
        return {name: (self._received or self._start)[name].double() for name in names}

    def _rounded(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A payload as the sites will know it."""
        float32 = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
        kept = payload.check(float32, payload.types_kept(self.experiment))
        return {n: t.float() for n, t in encoding.down(kept, self.experiment.payload_dtype).items()}

    def memory(self) -> dict[str, Tensor]:
        """What must outlive a restart of the server, by name."""
        memory = {f"strategy/{name}": tensor for name, tensor in self.strategy.state().items()}
        if self._optimizer is not None:
            memory |= {f"optimizer/{name}": tensor for name, tensor in self._optimizer.state().items()}
        return memory

    def restore(self, memory: Mapping[str, Tensor]) -> None:
        """Take up what `memory` gave."""
        parts: dict[str, dict[str, Tensor]] = {"strategy": {}, "optimizer": {}}
        for name, tensor in memory.items():
            part, _, own = name.partition("/")
            parts[part][own] = tensor
        self.strategy.restore(parts["strategy"])
        if self._optimizer is not None:
            self._optimizer.restore(parts["optimizer"])

    def _types_of(self, experiment: Experiment) -> Mapping[str, WireType]:
        """Shapes and types of a site's tensors on the wire."""
        if experiment.rank not in self._types:
            self._types[experiment.rank] = payload.types_up(experiment, self._number)
        return self._types[experiment.rank]

    def _decode(self, experiment: Experiment, checked: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A site's float32 tensors, from what it sent."""
        types = self._types_of(experiment)
        known = {name: leading(self._received[name], types[name][0]) for name in checked if name in self._received}
        return encoding.numbers(checked, experiment.payload_dtype, known)

    def _standing(self) -> dict[str, int]:
        """The slices of the sites that count."""
        return {site: n for site, n in self._slices.items() if site not in self._screen.refused}

    def _judge(self) -> None:
        """Keep back of the held updates those that count."""
        self._kept_back += self._screen.judge(self._buffered)
        self._buffered = []

    def _fold(self) -> None:
        """Fold in what counts, but for the sites whose share may turn out too large."""
        self._judge()
        ordered = sorted(self._kept_back, key=lambda update: (-update.weight, update.site))
        few = most_capped(self.policy.largest_share)
        self._kept_back = ordered[:few]
        if ordered[few:]:
            self._gatherer.fold(sorted(ordered[few:], key=lambda update: update.site))

    def _require_enough(self, sites: int) -> None:
        """Raise a FlapSamError where so few sites count that the robust rule protects against none of them."""
        reason = shortcoming(self.experiment.robust, self.experiment.hostile_share, sites)
        if reason:
            told = "".join(f"; {site}: {why}" for site, why in sorted(self._screen.refused.items()))
            raise FlapSamError(f"The round has {sites} sites that count: {reason}{told}.")

    def _stepped(self, totals: Totals) -> Totals:
        """The totals after the server's optimizer, which starts once there is a payload to step from."""
        if self._optimizer is None or not self._received:
            return totals
        previous = {name: self._received[name] for name in totals.means}
        target = dict(totals.means)
        for group in self.strategy.groups:
            target[group.name] = totals.changes[group.name].dense()
            previous[group.name] = self.strategy.factors(group, self._received).change()
        stepped = self._optimizer.step(previous, target)
        changes: dict[str, Total] = {group.name: DenseSum(stepped[group.name]) for group in self.strategy.groups}
        return Totals(changes, {name: stepped[name] for name in totals.means})


def strategy_for(experiment: Experiment, network: nn.Module) -> Strategy:
    """The strategy that a resolved experiment names, for its network's layers."""
    rank, scale = experiment.rank, experiment.alpha
    if experiment.method == "masam":
        layers = tuple(path for path, module in network.named_modules() if isinstance(module, FacT))
        return SharedTucker(LayerGroup(layers), "image_encoder.fact", rank, scale)
    kind = strategy_named(experiment.strategy)
    groups = groups_of(network) if kind.traits.sums_changes else ()
    return kind(groups, rank, scale, **{name: getattr(experiment, name) for name in kind.traits.reads})


def groups_of(network: nn.Module) -> list[LayerGroup]:
    """Low-rank pairs of one shape together: they are refactorised in one batch."""
    parameters = dict(network.named_parameters())
    groups: dict[tuple[int, int], list[str]] = {}
    for a, b in low_rank_pairs(network):
        groups.setdefault((parameters[b].shape[0], parameters[a].shape[1]), []).append(a.removesuffix(".A"))
    return [LayerGroup(tuple(layers)) for layers in groups.values()]
