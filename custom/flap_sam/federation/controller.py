"""The server's end: rounds of training, then the final and the best payload on every site's test cases."""

import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_opt.pt.decomposers import TensorDecomposer
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.memory_utils import cleanup_memory

from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import Conduct, drawn
from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError
from flap_sam.federation.aggregator import LowRankAggregator
from flap_sam.federation.asking import Accept, AskingController
from flap_sam.federation.console import quiet, say
from flap_sam.federation.persistor import results_folder
from flap_sam.federation.tracking import track
from flap_sam.foundation.files import replacing
from flap_sam.records import round_log
from flap_sam.records.candidate import Candidate, improves, is_stale
from flap_sam.records.results import BEST, FINAL, closing_summary, write_test_dice
from flap_sam.records.round_log import ROUND_LOG, RoundRecord, SiteRecord
from flap_sam.records.run_record import FEDERATED, RunRecord, stint
from flap_sam.records.scores import Evaluation, departures
from flap_sam.rounds import preconditions
from flap_sam.rounds.consistency import Likeness
from flap_sam.rounds.round_records import closed, encoded_size, lines_of_capped, round_record, site_record
from flap_sam.rounds.run_state import RunState, RunStore, find
from flap_sam.sam.weights import NOTICES
from flap_sam.wire import encoding
from flap_sam.wire.messages import (
    EXPERIMENT,
    REPORT,
    RUN,
    TASK_EVALUATE,
    TASK_TRAIN,
    TrainReport,
    from_meta,
)

DEMO_NOTICE = (
    "THIS IS THE DEMO: no data is configured (FLAP_SAM_DATA, or flap_site.json at a site), so the sites work on the "
    "bundled phantom. Its volumes are drawn, not scanned; its Dice says nothing about patients."
)


class FlapSamController(AskingController):
    """Runs an experiment over the connected sites.

    In round 0 there is no payload: each site starts the trained tensors from the experiment's seed and its own
    checkpoint, and the server refuses whoever started from another network than most sites (see `likeness`). Until
    more than half of the sites have said the same, their answers are held unread, one a site at most. A site that is
    refused or silent is named in the round log, and the round goes on while enough sites remain.

    Args:
        experiment: settings as `Experiment` names them.
        conduct: settings as `Conduct` names them.
        aggregator_id, persistor_id: components of the job.
    """

    def __init__(
        self,
        experiment: dict,
        conduct: dict | None = None,
        aggregator_id: str = "aggregator",
        persistor_id: str = "persistor",
    ) -> None:
        super().__init__(persistor_id=persistor_id, allow_empty_global_weights=True)
        fobs.register(TensorDecomposer)
        quiet()
        self._settings = experiment
        self._conduct_settings = conduct
        self._aggregator_id = aggregator_id

    def run(self) -> None:
        try:
            with ExitStack() as self._held:
                self._run()
        except FlapSamError as error:
            if not self.abort_signal.triggered:
                self.panic(str(error))

    def _run(self) -> None:
        job = Experiment.from_dict(self._settings)
        self.conduct = Conduct.from_dict(self._conduct_settings)
        self._likeness = Likeness(job)
        self._unread: dict[str, FLModel] = {}
        self._aggregator: LowRankAggregator = self.engine.get_component(self._aggregator_id)
        self._folder = results_folder(self.fl_ctx)
        self._sites = sorted(client.name for client in self.engine.get_clients())
        preconditions.check(job, self.conduct, self._sites, preconditions.is_deployed(self.fl_ctx))
        current, best = self._begin_or_resume(job)
        say(f"run {self._store.run}: {job.method} on {len(self._sites)} sites, {job.rounds} rounds")

        while current.round < job.rounds and not self._stale(current, best):
            record, following = self._round(current)
            best = self._better(best, replace(current, validation={s: r.validation for s, r in record.sites.items()}))
            current = following
            self._keep(FINAL, current)
            self._store.save(self._state(current, best))
            cleanup_memory()
        self._finish(current, best)
        self._store.remove()

    def _begin_or_resume(self, job: Experiment) -> tuple[Candidate, Candidate | None]:
        """The payload that the first round of this job starts from, and the best so far."""
        root = Site.read(Path(self.engine.get_workspace().get_site_config_dir())).state_root
        if self.conduct.resume is None:
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            self._store = RunStore(root, f"{stamp}-{secrets.token_hex(2)}")
            self._held.enter_context(self._store.held())
            self._stint = stint(0, self._sites, asdict(self.conduct))
            return Candidate({}, 0), None
        self._store = find(root, self.conduct.resume, job.digest(), say)
        self._held.enter_context(self._store.held())
        state = self._store.load()
        if state.experiment != job.digest():
            raise FlapSamError(f"Run {self._store.run} is of another experiment than this job; resume it with its own.")
        self._likeness.adopt(state.first)
        self._begin(state.first)
        self._write_record(state.record.resumed(stint(state.current.round, self._sites, asdict(self.conduct))))
        self._aggregator.restore(state.memory)
        with replacing(self._folder / ROUND_LOG) as stream:
            stream.write(state.log.encode())
        self._keep(FINAL, state.current)
        if state.best:
            self._keep(BEST, state.best)
        say(f"run {self._store.run} goes on from round {state.current.round}")
        return state.current, state.best

    def _state(self, current: Candidate, best: Candidate | None) -> RunState:
        return RunState(
            experiment=self._likeness.job.digest(),
            first=self._likeness.reference,
            current=current,
            best=best,
            memory=self._aggregator.memory(),
            log=(self._folder / ROUND_LOG).read_text(),
            record=self._record,
        )

    def _new_record(self, first: TrainReport) -> RunRecord:
        return RunRecord(
            run=self._store.run,
            setting=FEDERATED,
            demo=first.demo,
            weights=first.weights,
            stints=[self._stint],
        )

    def _write_record(self, record: RunRecord) -> None:
        self._record = record
        record.write(self._folder)

    def _stale(self, current: Candidate, best: Candidate | None) -> bool:
        """Whether the validation Dice has not grown for as many rounds as the operator's patience."""
        stale = is_stale(best, current.round, self.conduct.patience)
        if stale:
            say(f"no better validation Dice for {self.conduct.patience} rounds: the run stops early")
        return stale

    def _round(self, current: Candidate) -> tuple[RoundRecord, Candidate]:
        """Send a payload, gather and aggregate the updates; what happened, and the new payload."""
        start, number = time.perf_counter(), current.round
        task = self._task(current)
        bytes_down = encoded_size(task)
        records: dict[str, SiteRecord] = {}
        if self._likeness.reference:
            self._aggregator.start_round(current.tensors)

        def count(site: str, result: FLModel) -> bool:
            report = self._report(result, number)
            self._likeness.check(report)
            result.meta["slices"] = report.slices
            self._aggregator.accept_model(result)
            records[site] = site_record(report, bytes_down, encoded_size(result))
            say(round_log.site_line(number, site, records[site]))
            return True

        def accept(site: str, result: FLModel) -> bool:
            if self._likeness.reference is None:
                return self._hear(site, result, asked, count)
            return count(site, result)

        asked = drawn(self._sites, self.conduct.sites_a_round, self._likeness.job.seed, number)
        self.ask(TASK_TRAIN, task, asked, accept)
        self._require_agreement(asked)
        self.require_enough(asked)
        server_start = time.perf_counter()
        merged = self._aggregator.aggregate_model()
        for site, reason in merged.meta["refused"].items():
            self.refuse(site, reason)
        self.require_enough(asked)
        end = time.perf_counter()
        counted = closed({s: r for s, r in records.items() if s in self.counted}, merged.meta)
        for line in lines_of_capped(counted, self.conduct.largest_share):
            say(line)
        record = round_record(
            counted,
            merged.meta,
            run=self._store.run,
            round=number,
            seconds=end - start,
            server_seconds=end - server_start,
            refused=dict(sorted(self.refused.items())),
            missing=self.missing(asked),
            late=sorted(self.late),
        )
        self.late.clear()
        round_log.append(self._folder, record)
        track(self, self.fl_ctx, record)
        say(round_log.round_line(record, self._likeness.job.rounds))
        return record, Candidate(merged.params, number + 1)

    def _report(self, result: FLModel, number: int) -> TrainReport:
        report = from_meta(TrainReport, result.meta.get(REPORT), self._likeness.job.classes)
        if result.current_round != number:
            raise FlapSamError(f"it answers round {result.current_round}, not {number}")
        return report

    def _hear(self, site: str, result: FLModel, asked: Sequence[str], count: Accept) -> bool:
        """Hold a first round's answer; once more than half of the sites say the same, count all that are held."""
        agreed = self._likeness.hear(site, self._report(result, 0), len(asked))
        self._unread[site] = result
        if agreed:
            self._begin(self._likeness.reference)
            self._write_record(self._new_record(self._likeness.reference))
            for other in [s for s in self._unread if s not in self.refused]:
                self.take(other, self._unread.pop(other), count)
            self._unread.clear()
        return site in self.counted

    def _require_agreement(self, asked: Sequence[str]) -> None:
        if self._likeness.reference is None and self._unread and not self.abort_signal.triggered:
            reasons = "".join(f"; {site}: {reason}" for site, reason in sorted(self.refused.items()))
            raise FlapSamError(self._likeness.disagreement(asked) + reasons + ".")

    def _finish(self, final: Candidate, best: Candidate | None) -> None:
        """Score the last payload, and the best one where that is another, at every site."""
        tables = {FINAL: self._evaluate(FINAL, final)}
        scores = {site: report.validation for site, report in tables[FINAL].items()}
        best = self._better(best, replace(final, validation=scores))
        tables[BEST] = tables[FINAL] if best.round == final.round else self._evaluate(BEST, best)
        apart = departures(self._likeness.job, tables[FINAL], travelled=True)
        write_test_dice(self._folder, tables, best.round, apart)
        say("\n" + closing_summary(self._folder))

    def _evaluate(self, kind: str, scored: Candidate) -> dict[str, Evaluation]:
        reports: dict[str, Evaluation] = {}

        def accept(site: str, result: FLModel) -> bool:
            reports[site] = from_meta(Evaluation, result.meta.get(REPORT), self._likeness.job.classes)
            return True

        say(f"every site scores the {kind} payload on its test cases")
        self.ask(TASK_EVALUATE, self._task(scored), self._sites, accept)
        self.require_enough(self._sites)
        return dict(sorted(reports.items()))

    def _begin(self, reference: TrainReport) -> None:
        """Expect what most sites have said; they have agreed on it, or an earlier job of the run has."""
        experiment = self._likeness.experiment
        self._aggregator.begin(experiment, self.conduct)
        say(f"{experiment.backbone} at {experiment.image_size} px; all sites must start from the same weights")
        if reference.demo:
            say(DEMO_NOTICE)
        if notice := NOTICES.get(reference.weights):
            say(notice)

    def _task(self, sent: Candidate) -> FLModel:
        experiment = self._likeness.experiment
        return FLModel(
            params_type=ParamsType.FULL,
            params=encoding.down(sent.tensors, experiment.payload_dtype),
            current_round=sent.round,
            total_rounds=experiment.rounds,
            meta={EXPERIMENT: self._likeness.job.to_json(), RUN: self._store.run},
        )

    def _better(self, best: Candidate | None, candidate: Candidate) -> Candidate | None:
        if not candidate.tensors or not improves(candidate, best, self.conduct.best_by):
            return best
        self._keep(BEST, candidate)
        return candidate

    def _keep(self, kind: str, kept: Candidate) -> None:
        notes = {
            "round": kept.round,
            "validation_dice": kept.dice,
            "run": self._store.run,
            "start": self._likeness.reference.start_digest,
        }
        meta = {"kind": kind, "experiment": self._likeness.experiment.to_json(), "notes": notes}
        self.save_model(FLModel(params_type=ParamsType.FULL, params=dict(kept.tensors), meta=meta))
