"""The server's end: rounds of training, then the final and the best payload on every site's test cases."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.workflows.model_controller import ModelController
from nvflare.app_opt.pt.decomposers import TensorDecomposer
from nvflare.fuel.utils import fobs
from torch import Tensor

from flap_sam.errors import FlapSamError
from flap_sam.experiment import BACKBONES, Experiment
from flap_sam.federation import round_log
from flap_sam.federation.aggregator import LowRankAggregator, refuse_unfederated
from flap_sam.federation.console import quiet, say
from flap_sam.federation.messages import (
    EXPERIMENT,
    REASON,
    REPORT,
    TASK_EVALUATE,
    TASK_TRAIN,
    EvaluationReport,
    TrainReport,
    clean_reason,
    from_meta,
)
from flap_sam.federation.persistor import results_folder
from flap_sam.federation.round_log import RoundRecord, SiteRecord
from flap_sam.means import mean_of_known
from flap_sam.reporting.results import BEST, FINAL, closing_summary, write_test_dice
from flap_sam.reporting.text import figure

DEMO_NOTICE = (
    "THIS IS THE DEMO: no data is configured (FLAP_SAM_DATA, or flap_site.json at a site), so the sites work on the "
    "bundled phantom. Its volumes are drawn, not scanned; its Dice says nothing about patients."
)

RANDOM_NOTICE = (
    "NO SAM CHECKPOINT is configured (FLAP_SAM_CHECKPOINT, or flap_site.json at a site): the network starts from "
    "random weights, which is good for trying the software and for nothing else."
)

Accept = Callable[[str, FLModel], None]


@dataclass(frozen=True)
class Global:
    """A global payload, the round that started from it and its mean validation Dice there."""

    tensors: dict[str, Tensor]
    round: int
    validation: float | None


class FlapSamController(ModelController):
    """Runs an experiment over all connected sites; every site must take part in every round.

    In round 0 there is no payload: each site starts the trained tensors from the experiment's seed and its own
    checkpoint, and the server stops the run unless all started from the same digest.

    Args:
        experiment: settings as `Experiment` names them.
        aggregator_id, persistor_id: components of the job.
    """

    def __init__(self, experiment: dict, aggregator_id: str = "aggregator", persistor_id: str = "persistor") -> None:
        super().__init__(persistor_id=persistor_id, allow_empty_global_weights=True)
        fobs.register(TensorDecomposer)
        quiet()
        self._settings = experiment
        self._aggregator_id = aggregator_id
        self._refused: dict[str, str] = {}
        self._first: TrainReport | None = None

    def run(self) -> None:
        try:
            self._run()
        except FlapSamError as error:
            if not self.abort_signal.triggered:
                self.panic(str(error))

    def _run(self) -> None:
        self.experiment = Experiment.from_dict(self._settings)
        refuse_unfederated(self.experiment)
        self._job_experiment = self.experiment
        self._aggregator: LowRankAggregator = self.engine.get_component(self._aggregator_id)
        self._folder = results_folder(self.fl_ctx)
        self._sites = sorted(client.name for client in self.engine.get_clients())
        say(f"{self.experiment.method} on {len(self._sites)} sites, {self.experiment.rounds} rounds")

        tensors: dict[str, Tensor] = {}
        best: Global | None = None
        for number in range(self.experiment.rounds):
            received, tensors = tensors, {}
            tensors, validation = self._round(number, received)
            self._keep(FINAL, Global(tensors, number + 1, None))
            best = self._better(best, Global(received, number, validation))
        self._finish(tensors, best)

    def _round(self, number: int, received: dict[str, Tensor]) -> tuple[dict[str, Tensor], float | None]:
        """Send a payload, gather and aggregate the updates; the new payload and the old one's validation Dice."""
        start = time.perf_counter()
        task = self._task(number, received)
        bytes_down = encoded_size(task)
        records: dict[str, SiteRecord] = {}

        def accept(site: str, result: FLModel) -> None:
            report = from_meta(TrainReport, result.meta.get(REPORT), self.experiment.classes)
            if result.current_round != number:
                raise FlapSamError(f"it answers round {result.current_round}, not {number}")
            self._check_like_the_first(report)
            result.meta["slices"] = report.slices
            self._aggregator.accept_model(result)
            records[site] = SiteRecord(
                slices=report.slices,
                loss=report.loss,
                steps=report.steps,
                seconds=report.seconds,
                validation=report.validation,
                demo=report.demo,
                bytes_down=bytes_down,
                bytes_up=encoded_size(result),
            )
            say(_site_line(number, site, records[site]))

        self._ask(TASK_TRAIN, task, accept)
        server_start = time.perf_counter()
        merged = self._aggregator.aggregate_model()
        end = time.perf_counter()
        record = RoundRecord(
            round=number,
            validation=mean_of_known([mean_of_known(r.validation) for r in records.values()]),
            loss=math.fsum(r.loss * r.slices for r in records.values()) / sum(r.slices for r in records.values()),
            svd_energy_kept=mean_of_known(merged.meta["energy_kept"].values()),
            seconds=end - start,
            server_seconds=end - server_start,
            sites=dict(sorted(records.items())),
            refused=dict(self._refused),
        )
        round_log.append(self._folder, record)
        say(_round_line(record, self.experiment.rounds))
        return merged.params, record.validation

    def _finish(self, tensors: dict[str, Tensor], best: Global | None) -> None:
        """Score the last payload, and the best one where that is another, at every site."""
        final, reports = self._evaluate(FINAL, tensors)
        tables = {FINAL: reports}
        best = self._better(best, Global(tensors, self.experiment.rounds, final))
        tables[BEST] = reports if best.tensors is tensors else self._evaluate(BEST, best.tensors)[1]
        write_test_dice(self._folder, tables, best.round)
        say("\n" + closing_summary(self._folder))

    def _evaluate(self, kind: str, tensors: dict[str, Tensor]) -> tuple[float | None, dict[str, EvaluationReport]]:
        reports: dict[str, EvaluationReport] = {}

        def accept(site: str, result: FLModel) -> None:
            reports[site] = from_meta(EvaluationReport, result.meta.get(REPORT), self.experiment.classes)

        say(f"every site scores the {kind} payload on its test cases")
        self._ask(TASK_EVALUATE, self._task(self.experiment.rounds, tensors), accept)
        return mean_of_known([mean_of_known(r.validation) for r in reports.values()]), dict(sorted(reports.items()))

    def _ask(self, task_name: str, task: FLModel, accept: Accept) -> None:
        """Send a task to all sites and hand each answer on as it arrives.

        Raises:
            FlapSamError: a site failed or was refused.
        """
        answered: list[str] = []

        def on_result(result: FLModel) -> bool:
            site = result.meta["client_name"]
            try:
                accept(site, result)
            except FlapSamError as error:
                self._refuse(site, error)
                return False
            except Exception as error:  # a peer's answer may break anything; it must not become "no answer"
                self._refuse(site, f"its answer cannot be used ({type(error).__name__})")
                return False
            answered.append(site)
            return True

        self._refused.clear()
        self.broadcast_model(task, task_name=task_name, min_responses=len(self._sites), callback=on_result)
        missing = [site for site in self._sites if site not in answered]
        if missing:
            reasons = "; ".join(f"{site}: {self._refused.get(site, 'no answer')}" for site in missing)
            raise FlapSamError(f"The run stops: {reasons}.")

    def _accept_train_result(
        self, client_name: str, result: Shareable, fl_ctx: FLContext, is_unknown_task: bool = False
    ) -> bool:
        """A site that failed says why in a header, which FLARE's own message would drop."""
        reason = result.get_header(REASON)
        if reason is None or is_unknown_task:
            return super()._accept_train_result(client_name, result, fl_ctx, is_unknown_task)
        self._refuse(client_name, reason)
        return False

    def _refuse(self, site: str, reason: object) -> None:
        """Every site is needed, so the first refusal ends the run."""
        self._refused[site] = clean_reason(reason)
        if len(self._refused) == 1:
            self.panic(f"The run stops: {site}: {self._refused[site]}")

    def _check_like_the_first(self, report: TrainReport) -> None:
        """All sites run one experiment on like data, and began it from the same network."""
        if self._first is None:
            self._adopt(report)
        first = self._first
        if report.experiment != first.experiment:
            theirs = Experiment.from_json(report.experiment)
            raise FlapSamError(
                f"it runs {theirs.backbone} at {theirs.image_size} px, the others {self.experiment.backbone} at "
                f"{self.experiment.image_size} px; give every site the same SAM checkpoint"
            )
        if report.labels != first.labels:
            raise FlapSamError("its classes have other names or another order than the others'; prepare its data alike")
        if report.demo != first.demo:
            raise FlapSamError("some sites work on their own data and some on the demo; configure data at every site")
        if report.start_digest and report.start_digest != first.start_digest:
            raise FlapSamError("it started from other weights than the others; give every site the same SAM checkpoint")

    def _adopt(self, report: TrainReport) -> None:
        """Take the backbone and image size that the first site found, if that is all it changed."""
        resolved = Experiment.from_json(report.experiment)
        if (
            resolved.backbone not in BACKBONES
            or resolved.image_size is None
            or self._job_experiment.resolved(resolved.backbone, resolved.image_size) != resolved
        ):
            raise FlapSamError("it runs another experiment than the job's")
        self._aggregator.begin(resolved)
        self.experiment, self._first = resolved, report
        say(f"{resolved.backbone} at {resolved.image_size} px; all sites must start from the same weights")
        if report.demo:
            say(DEMO_NOTICE)
        if not report.pretrained:
            say(RANDOM_NOTICE)

    def _task(self, number: int, tensors: Mapping[str, Tensor]) -> FLModel:
        return FLModel(
            params_type=ParamsType.FULL,
            params=dict(tensors),
            current_round=number,
            total_rounds=self.experiment.rounds,
            meta={EXPERIMENT: self._job_experiment.to_json()},
        )

    def _better(self, best: Global | None, candidate: Global) -> Global:
        """Keep the candidate where it scores higher; a run without validation cases keeps the last."""
        if not candidate.tensors:
            return best
        if best is None or candidate.validation is None or (best.validation or 0.0) <= candidate.validation:
            self._keep(BEST, candidate)
            return candidate
        return best

    def _keep(self, kind: str, payload: Global) -> None:
        notes = {"round": payload.round, "validation_dice": payload.validation}
        meta = {"kind": kind, "experiment": self.experiment.to_json(), "notes": notes}
        self.save_model(FLModel(params_type=ParamsType.FULL, params=payload.tensors, meta=meta))


def encoded_size(model: FLModel) -> int:
    """Bytes of a message's tensors and report in FLARE's encoding."""
    return len(
        fobs.dumps({"params": dict(model.params or {}), "meta": {k: model.meta.get(k) for k in (EXPERIMENT, REPORT)}})
    )


def _site_line(number: int, site: str, record: SiteRecord) -> str:
    return (
        f"round {number:3}  {site:12}  {record.slices:5} slices  loss {record.loss:.4f}  "
        f"validation Dice of what it received {figure(mean_of_known(record.validation))}  "
        f"{record.bytes_up / 1e6:.2f} MB up  {record.seconds:.1f} s"
    )


def _round_line(record: RoundRecord, rounds: int) -> str:
    kept = "" if record.svd_energy_kept is None else f"  SVD kept {100 * record.svd_energy_kept:.2f} %"
    return (
        f"round {record.round:3}  of {rounds}: loss {record.loss:.4f}  validation Dice at its start "
        f"{figure(record.validation)}{kept}  {record.seconds:.1f} s"
    )
