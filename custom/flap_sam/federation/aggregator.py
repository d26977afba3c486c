"""The server's arithmetic: the sites' payloads of a round become one."""

import math
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


class LowRankAggregator(ModelAggregator):
    """Averages what the adapters do and refactorises it; averages everything else that is sent (paper, section 2.3).

    The result does not depend on the order of arrival: sites are summed in the order of their names.
    """

    def begin(self, experiment: Experiment) -> None:
        """Expect a round of this resolved experiment."""
        if experiment.method == "masam":
            message = (
                "Method masam cannot be federated: averaging shared FacT factors apart is not averaging their effect."
            )
            raise FlapSamError(message, public=message)
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
        """The new payload in `params`; in `meta`, by layer, `energy_kept` and `residual` of the truncation."""
        ordered = [self._contributions[site] for site in sorted(self._contributions)]
        total = sum(c.slices for c in ordered)
        weights = [c.slices / total for c in ordered]
        tensors, energy_kept, residual = {}, {}, {}
        for group in self._groups():
            updates = [
                stack([Factors(c.tensors[a], c.tensors[b], self.experiment.alpha) for a, b in group]) for c in ordered
            ]
            result = refactorise(weighted_sum(updates, weights), self.experiment.rank, self.experiment.alpha)
            for i, (a, b) in enumerate(group):
                tensors[a], tensors[b] = (f[i].float().contiguous() for f in (result.factors.A, result.factors.B))
                layer = a.removesuffix(".A")
                energy_kept[layer], residual[layer] = result.kept[i].item(), result.residual[i].item()
        for name in self.template:
            if name not in tensors:
                tensors[name] = weighted_average([c.tensors[name] for c in ordered], weights)
        self.reset_stats()
        return FLModel(
            params_type=ParamsType.FULL,
            params={name: tensors[name] for name in self.template},
            meta={"energy_kept": energy_kept, "residual": residual},
        )

    def _groups(self) -> list[list[tuple[str, str]]]:
        """Pairs of one shape together: they are refactorised in one batch."""
        groups: dict[tuple, list[tuple[str, str]]] = {}
        for a, b in self._pairs:
            groups.setdefault((self.template[a], self.template[b]), []).append((a, b))
        return list(groups.values())


def mean_energy(energy_kept: dict[str, float]) -> float | None:
    """Mean over the layers; None where nothing was truncated."""
    return math.fsum(energy_kept.values()) / len(energy_kept) if energy_kept else None
