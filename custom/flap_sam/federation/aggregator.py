"""The server's arithmetic: the sites' payloads of a round become one."""

from dataclasses import dataclass

from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator
from torch import Tensor

from flap_sam.errors import FlapSamError
from flap_sam.experiment import Experiment
from flap_sam.federation import payload
from flap_sam.lowrank.aggregate import weighted_average, weighted_sum
from flap_sam.lowrank.factors import Factors, stack
from flap_sam.lowrank.refactorise import refactorise
from flap_sam.sam.adapters import low_rank_pairs
from flap_sam.sam.build import build


@dataclass(frozen=True)
class Contribution:
    """One site's checked tensors and its number of training slices."""

    tensors: dict[str, Tensor]
    slices: int


def refuse_unfederated(experiment: Experiment) -> None:
    """Raise a FlapSamError for a method whose effect this server cannot average."""
    if experiment.method == "masam":
        message = "Method masam cannot be federated: averaging its shared factors apart is not averaging their effect."
        raise FlapSamError(message, public=message)


class LowRankAggregator(ModelAggregator):
    """Averages what the adapters do and refactorises it; averages everything else that is sent (paper, section 2.3).

    The result does not depend on the order of arrival: sites are summed in the order of their names.
    """

    def begin(self, experiment: Experiment) -> None:
        """Expect a round of this resolved experiment."""
        self.experiment = experiment
        self.template = payload.template(experiment)
        self._pairs = low_rank_pairs(build(experiment))
        self.reset_stats()

    def reset_stats(self) -> None:
        self._contributions: dict[str, Contribution] = {}

    def accept_model(self, model: FLModel) -> None:
        """Count a site in, after its whole payload has been checked.

        Args:
            model: `params` the payload; `meta` holds `client_name` and `slices`.

        Raises:
            FlapSamError: the payload differs from the template, the site has no slices or came before.
        """
        site, slices = model.meta["client_name"], model.meta["slices"]
        if site in self._contributions:
            raise FlapSamError(f"{site} sent a second update in one round; the first counts.")
        if slices < 1:
            raise FlapSamError(f"{site} reports {slices} training slices; expected 1 or more.")
        self._contributions[site] = Contribution(payload.check(model.params, self.template), slices)

    def aggregate_model(self) -> FLModel:
        """The new payload in `params`; `meta` holds `energy_kept`, the truncation's share by layer.

        Raises:
            FlapSamError: the sum left the range of float32.
        """
        ordered = [self._contributions[site] for site in sorted(self._contributions)]
        total = sum(c.slices for c in ordered)
        weights = [c.slices / total for c in ordered]
        tensors, energy_kept = {}, {}
        for group in self._groups():
            updates = [
                stack([Factors(c.tensors[a], c.tensors[b], self.experiment.alpha) for a, b in group]) for c in ordered
            ]
            result = refactorise(weighted_sum(updates, weights), self.experiment.rank, self.experiment.alpha)
            for i, (a, b) in enumerate(group):
                tensors[a], tensors[b] = (f[i].float().contiguous() for f in (result.factors.A, result.factors.B))
                energy_kept[a.removesuffix(".A")] = result.kept[i].item()
        for name in self.template:
            if name not in tensors:
                tensors[name] = weighted_average([c.tensors[name] for c in ordered], weights)
        self.reset_stats()
        return FLModel(
            params_type=ParamsType.FULL,
            params=payload.check(tensors, self.template),
            meta={"energy_kept": energy_kept},
        )

    def _groups(self) -> list[list[tuple[str, str]]]:
        """Pairs of one shape together: they are refactorised in one batch."""
        groups: dict[tuple, list[tuple[str, str]]] = {}
        for a, b in self._pairs:
            groups.setdefault((self.template[a], self.template[b]), []).append((a, b))
        return list(groups.values())
