"""The server's arithmetic: the sites' payloads of a round become one."""

import statistics
from collections.abc import Mapping
from math import sqrt

from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator
from torch import Tensor, nn

from flap_sam.errors import FlapSamError
from flap_sam.experiment import Experiment
from flap_sam.federation import payload
from flap_sam.federation.conduct import Conduct
from flap_sam.lowrank.aggregate import DenseSum
from flap_sam.lowrank.factors import leading
from flap_sam.lowrank.gather import Totals, Update, gatherer
from flap_sam.lowrank.robust import gram
from flap_sam.lowrank.server_optimizer import server_optimizer
from flap_sam.lowrank.strategies import Apart, Group, Residual, SharedTucker, Strategy, Svd, Total
from flap_sam.sam.adapters import low_rank_pairs
from flap_sam.sam.build import build
from flap_sam.sam.fact import FacT
from flap_sam.training import quantise
from flap_sam.training.quantise import WireType

BLOCK_SITES = 32
BLOCK_BYTES = 2 * 2**30


class LowRankAggregator(ModelAggregator):
    """Averages what the adapters do and refactorises it; averages everything else that is sent (paper, section 2.3).

    Updates are held in blocks of up to `BLOCK_SITES` or `BLOCK_BYTES` and folded in, in the order of the sites'
    names, when a block is full: memory does not grow with the number of sites, and a round that fits into one
    block gives the same bits whatever the order of arrival.
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
        self._held: list[Update] = []
        self._seen: set[str] = set()
        self._adapter_norms: dict[str, float] = {}
        self._other_norms: dict[str, float] = {}
        self._refused: dict[str, str] = {}

    def accept_model(self, model: FLModel) -> None:
        """Count a site in, after its whole payload has been checked.

        Args:
            model: `params` the payload; `meta` holds `client_name` and `slices`.

        Raises:
            FlapSamError: the payload differs from the template, the site has no slices, more than it is registered
                with, or came before.
        """
        site, slices = model.meta["client_name"], model.meta["slices"]
        if site in self._seen:
            raise FlapSamError(f"{site} sent a second update in one round; the first counts.")
        registered = self.conduct.largest_slices.get(site, slices)
        if not 1 <= slices <= registered:
            expected = f"1 to {registered}, its registered number" if slices > registered else "1 or more"
            raise FlapSamError(f"{site} reports {slices} training slices; expected {expected}.")
        update = Update(site, slices, self._decode(site, model.params))
        self._seen.add(site)
        self._adapter_norms[site], self._other_norms[site] = self._norms(update)
        self._held.append(update)
        if len(self._held) >= BLOCK_SITES or len(self._held) * update.bytes >= BLOCK_BYTES:
            self._fold()

    def aggregate_model(self) -> FLModel:
        """The new payload in `params`, rounded as the wire rounds it.

        `meta` holds by layer what the truncation `kept` and its `residual`, and by site the `norms` of the changes,
        of a method with adapters, and who was `refused` for them; without any site left, `params` are empty.

        Raises:
            FlapSamError: the sum left the range of float32.
        """
        self._fold()
        norms = self._adapter_norms if self.strategy.groups else {}
        meta = {"kept": {}, "residual": {}, "norms": norms, "refused": self._refused}
        if not self._seen - self._refused.keys():
            return FLModel(params_type=ParamsType.FULL, params={}, meta=meta)
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
        as_sent = quantise.down(kept, self.experiment.payload_dtype)
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
        return quantise.numbers(checked, experiment.payload_dtype, known)

    def _norms(self, update: Update) -> tuple[float, float]:
        """Frobenius norm of B A over all layers, and of all other tensors together."""
        squares = sum(gram([self.strategy.factors(g, update.tensors)]).item() for g in self.strategy.groups)
        others = sum(t.double().square().sum().item() for t in self._gatherer.plain(update).values())
        return sqrt(max(squares, 0)), sqrt(others)

    def _fold(self) -> None:
        """Fold the held updates in, those excepted whose norm stands out of the round so far."""
        block = sorted(self._held, key=lambda update: update.site)
        self._held = []
        limit = self.conduct.norm_limit
        for norms, what in ((self._adapter_norms, "B A"), (self._other_norms, "its other tensors")):
            median = statistics.median(norms.values()) if norms else 0.0
            for update in block:
                norm = norms[update.site]
                if limit is not None and norm > limit * median:
                    self._refused.setdefault(
                        update.site,
                        f"the norm of {what} is {norm:.4g}, the round's median {median:.4g}; "
                        f"expected at most {limit:g} times the median",
                    )
        counted = [update for update in block if update.site not in self._refused]
        if counted:
            self._gatherer.fold(counted)

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
