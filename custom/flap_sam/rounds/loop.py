# SPDX-License-Identifier: Apache-2.0
"""The rounds of a run, then the final and the best payload on every site's test cases."""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy, drawn
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.files import replacing
from flap_sam.records import round_log
from flap_sam.records.candidate import Candidate, improves, is_stale
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES, write_test_dice
from flap_sam.records.round_log import ROUND_LOG, RoundRecord, SiteRecord
from flap_sam.records.run_record import FEDERATED, RunRecord, Setting, attempt
from flap_sam.records.scores import Evaluation, departures
from flap_sam.rounds.aggregate import Aggregator
from flap_sam.rounds.answers import Accept, Answers
from flap_sam.rounds.attendance import Attendance
from flap_sam.rounds.consistency import Consistency
from flap_sam.rounds.round_records import closed, lines_of_capped, round_record, site_record
from flap_sam.rounds.run_state import RunState, RunStore, check_goes_on, find
from flap_sam.rounds.sites import Sites
from flap_sam.rounds.start import Start
from flap_sam.training.progress import Say
from flap_sam.wire import encoding, payload
from flap_sam.wire.exchange import Answer, Task
from flap_sam.wire.messages import TASK_EVALUATE, TASK_TRAIN, TrainReport, check_version, from_meta, size


@dataclass(frozen=True)
class Surroundings:
    """Where and how a run takes place.

    Args:
        results: the folder for what the run makes; it exists.
        state: the folder for all runs' states of this machine (see `Site.state_root`).
        payloads: the operator's folder of payloads to start from, if there is one.
        setting: in a federation, or which sites' data it is trained on without one.
        deployed: the server runs from a startup kit.
        say: takes a line, or a block of lines, for the person at the console.
        closed: is given the record of every round that has closed.
    """

    results: Path
    state: Path
    payloads: Path | None
    setting: Setting
    deployed: bool
    say: Say
    closed: Callable[[RoundRecord], None] = lambda _: None


class Run:
    """An experiment over sites, in a federation or in this process.

    In round 0 there is no payload, unless the policy names a `start`: each site starts the trained tensors from the
    experiment's seed and its own checkpoint, and whoever started from another network than most sites is refused (see
    `consistency`). Until more than half of the sites have said the same, their answers are held unread, one a site at
    most. A site that is refused or silent is named in the round log, and the round goes on while enough sites remain.
    One that connects later joins in the next round (see `attendance`).

    Raises:
        FlapSamError: experiment and policy do not fit the sites that are there.
    """

    def __init__(self, job: Experiment, policy: RunPolicy, sites: Sites, around: Surroundings) -> None:
        self._job, self._policy, self._sites, self._around, self._say = job, policy, sites, around, around.say
        self._aggregator = Aggregator()
        self._unread: dict[str, Answer] = {}
        self._asked_before = False
        named = job if around.setting == FEDERATED else job.changed(ranks={})  # ranks name the sites of a federation
        self._attendance = Attendance(sites.connected, named, policy, around.deployed, around.say)

    def run(self) -> None:
        """Run it to its end.

        Raises:
            FlapSamError: says why it stops before.
        """
        with ExitStack() as self._held:
            current, best = self._begin_or_resume()
            number = len(self._attendance.sites)
            where = f"on {number} sites" if self._around.setting == FEDERATED else self._around.setting
            self._say(f"run {self._store.run}: {self._job.method} {where}, {self._job.rounds} rounds")
            while current.round < self._job.rounds and not self._stale(current, best):
                self._attendance.renew(current.round)
                record, following = self._round(current)
                scored = {site: entry.validation for site, entry in record.sites.items()}
                best = self._better(best, replace(current, validation=scored))
                current = following
                self._keep(FINAL, current)
                self._store.save(self._state(current, best))
                self._around.closed(record)
            self._finish(current, best)
            self._store.close()

    def _begin_or_resume(self) -> tuple[Candidate, Candidate | None]:
        """The payload that the first round of this job starts from, and the best so far."""
        if self._policy.resume is not None:
            return self._resume(self._policy.resume)
        named = self._policy.start
        start = Start.read(self._around.payloads, named, self._job) if named else None
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        self._store = RunStore(self._around.state, f"{stamp}-{secrets.token_hex(2)}")
        self._held.enter_context(self._store.held())
        self._consistency = Consistency(self._job, start)
        self._attempt = attempt(0, self._attendance.sites, dict(self._policy))
        return Candidate(start.tensors if start else {}, 0), None

    def _resume(self, run: str) -> tuple[Candidate, Candidate | None]:
        """The same of a run that this job continues, perhaps to more rounds than the run had."""
        self._store = find(self._around.state, run, self._job, self._say)
        self._held.enter_context(self._store.held())
        state = self._store.load()
        check_goes_on(self._store, state, self._job)
        self._consistency = Consistency(self._job)
        self._consistency.resume(state.first)
        self._begin(state.current)
        began = attempt(state.current.round, self._attendance.sites, dict(self._policy))
        self._write_record(state.record.resumed(began))
        self._aggregator.restore(state.memory)
        with replacing(self._around.results / ROUND_LOG) as stream:
            stream.write(state.log.encode())
        self._keep(FINAL, state.current)
        if state.best:
            self._keep(BEST, state.best)
        self._say(f"run {self._store.run} goes on from round {state.current.round}")
        return state.current, state.best

    def _begin(self, current: Candidate) -> None:
        """Expect what most sites have said; they have agreed on it, or an earlier job of the run has."""
        experiment = self._consistency.experiment
        self._aggregator.begin(experiment, self._policy)
        self._aggregator.start_round(current.tensors, current.round)
        self._say(f"{experiment.backbone} at {experiment.image_size} px; all sites must start from the same weights")
        for notice in self._consistency.notices():
            self._say(notice)

    def _state(self, current: Candidate, best: Candidate | None) -> RunState:
        return RunState(
            experiment=self._job,
            first=self._consistency.agreed,
            current=current,
            best=best,
            memory=self._aggregator.memory(),
            log=(self._around.results / ROUND_LOG).read_text(),
            record=self._record,
        )

    def _write_record(self, record: RunRecord) -> None:
        self._record = record
        record.write(self._around.results)

    def _stale(self, current: Candidate, best: Candidate | None) -> bool:
        """Whether the validation Dice has not grown for as many rounds as the operator's patience."""
        stale = is_stale(best, current.round, self._policy.patience)
        if stale:
            self._say(f"no better validation Dice for {self._policy.patience} rounds: the run stops early")
        return stale

    def _answers(self, asked: Sequence[str], accept: Accept) -> Answers:
        timeout = self._policy.timeout(first=not self._asked_before)
        self._asked_before = True
        return Answers(asked, self._policy, timeout, accept, self._sites.stopped, self._sites.gone, self._say)

    def _round(self, current: Candidate) -> tuple[RoundRecord, Candidate]:
        """Send a payload, gather and aggregate the updates; what happened, and the new payload."""
        start, number = time.perf_counter(), current.round
        task = self._task(TASK_TRAIN, current)
        bytes_down = self._travelled(size(task.payload, task.entries))
        records: dict[str, SiteRecord] = {}
        if self._consistency.reference:
            self._aggregator.start_round(current.tensors, current.round)

        def accept(site: str, answer: Answer) -> bool:
            report = self._report(answer, number)
            if self._consistency.reference is None:
                return self._hear(site, answer, report, current, answers)
            self._consistency.check(report)
            update = self._aggregator.accept(site, report.slices, answer.update)
            bytes_up = self._travelled(size(update, answer.entries))
            records[site] = site_record(report, bytes_down, bytes_up)
            self._say(round_log.site_line(number, site, records[site]))
            return True

        asked = drawn(self._attendance.sites, self._policy.sites_a_round, self._job.seed, number)
        answers = self._answers(asked, accept)
        self._sites.ask(task, asked, answers)
        self._require_agreement(answers)
        answers.require_enough()
        server_start = time.perf_counter()
        merged = self._aggregator.close()
        for site, reason in merged.refused.items():
            answers.refuse(site, reason)
        answers.require_enough()
        end = time.perf_counter()
        counted = closed({s: r for s, r in records.items() if s in answers.counted}, merged)
        for line in lines_of_capped(counted, self._policy.largest_share):
            self._say(line)
        record = round_record(
            counted,
            merged,
            run=self._store.run,
            round=number,
            seconds=end - start,
            server_seconds=end - server_start,
            refused=dict(sorted(answers.refused.items())),
            missing=answers.missing(),
            late=sorted(self._sites.late()),
        )
        round_log.append(self._around.results, record)
        self._say(round_log.round_line(record, self._job.rounds))
        return record, Candidate(merged.payload, number + 1)

    def _report(self, answer: Answer, number: int) -> TrainReport:
        check_version("answer", answer.version, Reason.RESULT)
        report = from_meta(TrainReport, answer.report, self._job.classes)
        if answer.round != number:
            raise FlapSamError(f"it answers round {answer.round}, not {number}")
        return report

    def _hear(self, site: str, answer: Answer, report: TrainReport, sent: Candidate, answers: Answers) -> bool:
        """Hold a first round's answer; once more than half of the sites say the same, count all that are held."""
        agreed = self._consistency.hear(site, report, len(answers.asked))
        self._unread[site] = answer
        if agreed:
            self._begin(sent)
            self._write_record(self._new_record(self._consistency.agreed))
            for other in [s for s in self._unread if s not in answers.refused]:
                answers.take(other, self._unread.pop(other))
            self._unread.clear()
        return site in answers.counted

    def _new_record(self, first: TrainReport) -> RunRecord:
        return RunRecord(
            run=self._store.run,
            setting=self._around.setting,
            demo=first.demo,
            weights=first.weights,
            attempts=[self._attempt],
        )

    def _require_agreement(self, answers: Answers) -> None:
        if self._consistency.reference is None and self._unread and not self._sites.stopped():
            reasons = "".join(f"; {site}: {reason}" for site, reason in sorted(answers.refused.items()))
            raise FlapSamError(self._consistency.disagreement(answers.asked) + reasons + ".")

    def _finish(self, final: Candidate, best: Candidate | None) -> None:
        """Score the last payload, and the best one where that is another, at every site."""
        tables = {FINAL: self._evaluate(FINAL, final)}
        scores = {site: report.validation for site, report in tables[FINAL].items()}
        scored = replace(final, validation=scores)
        best = self._better(best, scored) or scored
        tables[BEST] = tables[FINAL] if best.round == final.round else self._evaluate(BEST, best)
        write_test_dice(self._around.results, tables, best.round, departures(self._job, tables[FINAL]))

    def _evaluate(self, kind: str, scored: Candidate) -> dict[str, Evaluation]:
        reports: dict[str, Evaluation] = {}

        def accept(site: str, answer: Answer) -> bool:
            check_version("answer", answer.version, Reason.RESULT)
            reports[site] = from_meta(Evaluation, answer.report, self._job.classes)
            return True

        self._say(f"every site scores the {kind} payload on its test cases")
        asked = self._sites.scoring(self._attendance.sites)
        answers = self._answers(asked, accept)
        self._sites.ask(self._task(TASK_EVALUATE, scored), asked, answers)
        answers.require_enough()
        return dict(sorted(reports.items()))

    def _task(self, name: str, sent: Candidate) -> Task:
        dtype = self._consistency.experiment.payload_dtype
        encoded = encoding.down(sent.tensors, dtype)
        return Task(name, self._job.to_json(), self._store.run, sent.round, self._job.rounds, encoded)

    def _travelled(self, number: int) -> int:
        """Bytes of a message, where there is a wire for it."""
        return number if self._around.setting == FEDERATED else 0

    def _better(self, best: Candidate | None, candidate: Candidate) -> Candidate | None:
        if not candidate.tensors or not improves(candidate, best, self._policy.best_by):
            return best
        self._keep(BEST, candidate)
        return candidate

    def _keep(self, kind: str, kept: Candidate) -> None:
        notes = {"round": kept.round, "validation_dice": kept.dice, "run": self._store.run}
        notes |= self._consistency.digests()
        path = self._around.results / PAYLOAD_FILES[kind]
        payload.write(path, kept.tensors, self._consistency.experiment, notes)
