"""The server's arithmetic: the sites' payloads of a round become one."""

from collections.abc import Mapping
from dataclasses import replace

from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator
from torch import Tensor, nn

from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import Conduct
from flap_sam.errors import FlapSamError
from flap_sam.lowrank.aggregate import DenseSum
from flap_sam.lowrank.factors import leading
from flap_sam.lowrank.gather import Totals, Update, gatherer
from flap_sam.lowrank.robust import shortcoming
from flap_sam.lowrank.screen import Screen
from flap_sam.lowrank.server_optimizer import server_optimizer
from flap_sam.lowrank.shares import capped, most_capped
from flap_sam.lowrank.strategies import Apart, Group, Residual, SharedTucker, Strategy, Svd, Total
from flap_sam.sam.adapters import low_rank_pairs
from flap_sam.sam.build import build
from flap_sam.sam.fact import FacT
from flap_sam.wire import encoding, payload
from flap_sam.wire.encoding import WireType

BLOCK_SITES = 32
BLOCK_BYTES = 2 * 2**30


class LowRankAggregator(ModelAggregator):
    """Averages what the adapters do and refactorises it; averages everything else that is sent (paper, section 2.3).

    Updates are held in blocks of up to `BLOCK_SITES` or `BLOCK_BYTES`; a full block is judged by its norms (see
    `lowrank.screen`) and folded in, in the order of the sites' names. Memory does not grow with the number of sites,
    and a round that fits into one block gives the same bits whatever the order of arrival. The few sites with most
    slices are kept back until the round closes: only then it is known what they may weigh (see `lowrank.shares`).
    Robust rules need a whole round at once, and hold it.
    """

    def begin(self, experiment: Experiment, conduct: Conduct) -> None:
        """Expect rounds of this resolved experiment."""
        self.experiment, self.conduct = experiment, conduct
        self.strategy = strategy_for(experiment, build(experiment))
        self._optimizer = server_optimizer(experiment.server_optimizer, experiment.server_learning_rate)
        self._types: dict[int, Mapping[str, WireType]] = {}
        self.start_round({})

    def start_round(self, received: Mapping[str, Tensor]) -> None:
        """Expect the answers to a payload; empty in the first round."""
        self._received = received
        self.reset_stats()

    def reset_stats(self) -> None:
        self._gatherer = gatherer(self.experiment.robust, self.strategy, self.experiment.hostile_share)
        self._screen = Screen(self.strategy, self._received, self.conduct.norm_limit, self.conduct.largest_norm)
        self._held: list[Update] = []
        self._kept_back: list[Update] = []
        self._slices: dict[str, int] = {}

    def accept_model(self, model: FLModel) -> None:
        """Count a site in, after its whole payload has been checked.

        Args:
            model: `params` the payload; `meta` holds `client_name` and `slices`.

        Raises:
            FlapSamError: the payload differs from the template, the site has no slices, more than it is registered
                with, or came before.
        """
        site, slices = model.meta["client_name"], model.meta["slices"]
        if site in self._slices:
            raise FlapSamError(f"{site} sent a second update in one round; the first counts.")
        registered = self.conduct.largest_slices.get(site, slices)
        if not 1 <= slices <= registered:
            expected = f"1 to {registered}, its registered number" if slices > registered else "1 or more"
            raise FlapSamError(f"{site} reports {slices} training slices; expected {expected}.")
        update = Update(site, slices, self._decode(site, model.params))
        self._slices[site] = slices
        self._held.append(update)
        held = len(self._held) + len(self._kept_back)
        if not self._gatherer.whole_round and (held >= BLOCK_SITES or held * update.bytes >= BLOCK_BYTES):
            self._fold()

    def aggregate_model(self) -> FLModel:
        """The new payload in `params`, rounded as the wire rounds it.

        `meta` holds by layer what the truncation `kept` and its `residual`, and by site its `norms`, who was `refused`
        for them, and the slices it `counted` for; without any site left, `params` are empty.

        Raises:
            FlapSamError: the sum left the range of float32, or too few sites are left for the experiment's robust
                rule.
        """
        self._judge()
        counted = capped(self._standing(), self.conduct.largest_share)
        meta = {
            "kept": {},
            "residual": {},
            "norms": self._screen.norms,
            "refused": self._screen.refused,
            "counted": counted,
        }
        if not counted:
            return FLModel(params_type=ParamsType.FULL, params={}, meta=meta)
        self._require_enough(len(counted))
        rest = [replace(update, weight=counted[update.site]) for update in self._kept_back]
        if rest:
            self._gatherer.fold(sorted(rest, key=lambda update: update.site))
        totals = self._stepped(self._gatherer.close(self._received))
        tensors = dict(totals.means)
        for group in self.strategy.groups:
            merged = self.strategy.merge(group, totals.changes[group.name])
            tensors |= merged.tensors
            meta["kept"] |= merged.kept
            meta["residual"] |= merged.residual
        self.reset_stats()
        float32 = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
        kept = payload.check(float32, payload.types_kept(self.experiment))
        as_sent = encoding.down(kept, self.experiment.payload_dtype)
        return FLModel(
            params_type=ParamsType.FULL, params={name: tensor.float() for name, tensor in as_sent.items()}, meta=meta
        )

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

    def _decode(self, site: str, wire: object) -> dict[str, Tensor]:
        """A site's float32 tensors, from what it sent."""
        experiment = self.experiment.at(site)
        if experiment.rank not in self._types:
            self._types[experiment.rank] = payload.types_up(experiment)
        types = self._types[experiment.rank]
        checked = payload.check(wire, types)
        known = {name: leading(self._received[name], types[name][0]) for name in checked if name in self._received}
        return encoding.numbers(checked, experiment.payload_dtype, known)

    def _standing(self) -> dict[str, int]:
        """The slices of the sites that count."""
        return {site: n for site, n in self._slices.items() if site not in self._screen.refused}

    def _judge(self) -> None:
        """Keep back of the held updates those that count."""
        self._kept_back += self._screen.judge(self._held)
        self._held = []

    def _fold(self) -> None:
        """Fold in what counts, but for the sites whose share may turn out too large."""
        self._judge()
        ordered = sorted(self._kept_back, key=lambda update: (-update.weight, update.site))
        few = most_capped(self.conduct.largest_share)
        self._kept_back = ordered[:few]
        if ordered[few:]:
            self._gatherer.fold(sorted(ordered[few:], key=lambda update: update.site))

    def _require_enough(self, sites: int) -> None:
        """Refuse to let a robust rule stand for a protection that it does not give among so few sites."""
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
        return SharedTucker(Group(layers), "image_encoder.fact", rank, scale)
    if experiment.strategy in ("factor-average", "freeze-a"):
        return Apart(rank, scale)
    kind = Residual if experiment.strategy == "residual" else Svd
    return kind(groups_of(network), rank, scale, experiment.split, experiment.energy)


def groups_of(network: nn.Module) -> list[Group]:
    """Low-rank pairs of one shape together: they are refactorised in one batch."""
    parameters = dict(network.named_parameters())
    groups: dict[tuple, list[str]] = {}
    for a, b in low_rank_pairs(network):
        groups.setdefault((parameters[b].shape[0], parameters[a].shape[1]), []).append(a.removesuffix(".A"))
    return [Group(tuple(layers)) for layers in groups.values()]
