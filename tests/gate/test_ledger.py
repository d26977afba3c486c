# SPDX-License-Identifier: Apache-2.0
import json
import multiprocessing
from dataclasses import replace

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.strict import parse
from flap_sam.gate import ledger
from flap_sam.gate.agreement import Agreement
from flap_sam.gate.audit import AuditLog
from flap_sam.gate.ledger import Ledger, Turn
from flap_sam.wire.messages import TASK_EVALUATE, TASK_TRAIN

AGREED = Agreement(
    experiments=(), metrics=(), largest_update=1.0, largest_payload=1.0, runs=2, repeats=2, evaluations=2
)
TURN = Turn("first", "run", "e" * 64, TASK_TRAIN, 0)


def trained(*rounds: int, book: Ledger | None = None, agreed: tuple[Experiment, ...] = (), **changes) -> Ledger:
    book = book or Ledger()
    for number in rounds:
        turn = replace(TURN, round=number, **changes)
        book.check(turn, AGREED.model_copy(update={"experiments": agreed}))
        book = book.answered(turn, bare=True)
    return book


def reason(book: Ledger, **changes) -> Reason | None:
    """Why a question is refused; None where it is admitted."""
    try:
        book.check(replace(TURN, **changes), AGREED)
    except FlapSamError as error:
        return error.reason
    return None


def test_rounds_rise_within_a_job():
    book = trained(0, 1, 4)
    assert [reason(book, round=n) for n in (0, 3, 4)] == [Reason.REPLAYED] * 3
    assert reason(book, round=5) is None


def test_a_job_that_continues_a_run_may_ask_for_its_last_round_again():
    book = trained(0, 1, 2)
    assert reason(book, job="second", round=1) == Reason.REPLAYED
    assert reason(book, job="second", round=2) is None
    assert reason(trained(2, book=book, job="second"), job="second", round=2) == Reason.REPLAYED


def test_and_twenty_jobs_do_not_get_twenty_answers():
    book = trained(0, 1, 2, 3)
    book = trained(3, book=book, job="second")
    book = trained(3, book=book, job="third")
    assert reason(book, job="fourth", round=3) == Reason.REPLAYED
    assert reason(book, job="fourth", round=4) is None


def test_a_job_that_was_continued_is_over():
    book = trained(1, book=trained(0), job="second")
    assert reason(book, job="first", round=2) == Reason.RUN
    assert reason(book, job="first", task=TASK_EVALUATE, round=2) == Reason.RUN


def test_a_job_conducts_one_run():
    assert reason(trained(0), run="another") == Reason.RUN


def test_a_run_belongs_to_one_experiment():
    assert reason(trained(0), job="second", round=1, experiment="f" * 64) == Reason.RUN


SHORT = Experiment(rounds=2)
LONG = SHORT.changed(rounds=4)
OTHER = LONG.changed(seed=1)


def longer(book: Ledger, *agreed: Experiment, to: Experiment = LONG, **changes) -> Reason | None:
    """Why a job that goes on to more rounds is refused by a site that agrees to one run of each of some experiments."""
    agreement = AGREED.model_copy(update={"experiments": agreed, "runs": 1})
    turn = replace(TURN, **{"job": "second", "round": 2, "experiment": to.digest(), **changes})
    try:
        book.check(turn, agreement)
    except FlapSamError as error:
        return error.reason
    return None


def test_a_run_goes_on_to_more_rounds_where_both_are_agreed_to():
    book = trained(0, 1, experiment=SHORT.digest())
    assert longer(book, SHORT, LONG) is None
    assert longer(book, LONG) == longer(book, SHORT) == longer(book) == Reason.RUN
    assert longer(book, SHORT, LONG, OTHER, to=OTHER) == Reason.RUN, "more rounds, and another seed"
    assert longer(book, SHORT, LONG, job="first") == Reason.RUN, "a job does not change what it trains"
    assert longer(book, SHORT, LONG, round=1) is None, "the last round again, as ever"
    assert longer(book, SHORT, LONG, round=0) == Reason.REPLAYED
    book = trained(2, book=book, experiment=LONG.digest(), job="second", agreed=(SHORT, LONG))
    assert longer(book, SHORT, LONG, to=SHORT, job="third", round=3) == Reason.RUN, "never back to fewer"


def test_a_run_that_went_on_counts_as_a_run_of_both():
    """So no question is answered that would not have been in two runs of their own."""
    book = trained(0, 1, experiment=SHORT.digest())
    book = trained(2, book=book, experiment=LONG.digest(), job="second", agreed=(SHORT, LONG))
    for experiment in (SHORT, LONG):
        assert longer(book, SHORT, LONG, to=experiment, job="third", run="another", round=0) == Reason.RUNS
    other = trained(0, book=trained(0, experiment=LONG.digest()), job="b", run="b", experiment=SHORT.digest())
    assert longer(other, SHORT, LONG, job="c", run="b", round=1) == Reason.RUNS, "the run of the longer one is spent"


def test_what_was_counted_stays_counted():
    book = trained(0, 1, experiment=SHORT.digest())
    for _ in range(2):
        book = trained(2, book=book, experiment=SHORT.digest(), task=TASK_EVALUATE)
    short = {"task": TASK_EVALUATE, "round": 4, "to": SHORT, "job": "first"}
    assert longer(book, SHORT, LONG, **short) == Reason.EVALUATIONS
    book = trained(2, 3, book=book, experiment=LONG.digest(), job="second", agreed=(SHORT, LONG))
    for _ in range(2):
        turn = {"experiment": LONG.digest(), "job": "second", "task": TASK_EVALUATE, "agreed": (SHORT, LONG)}
        book = trained(4, book=book, **turn)
    assert longer(book, SHORT, LONG, task=TASK_EVALUATE, round=4) == Reason.EVALUATIONS
    run = book.runs["run"]
    assert (run.answers, run.evaluations, run.trained, book.bare) == (4, 4, 3, 8)
    assert (run.shorter, run.experiment, run.jobs) == ((SHORT.digest(),), LONG.digest(), ("first", "second"))
    assert parse(Ledger, book.to_json().encode()) == book


def test_the_budget_goes_on_over_all_rounds():
    agreement = AGREED.model_copy(update={"experiments": (SHORT, LONG)})
    book = Ledger()
    for number in range(4):
        first = number < 2
        changes = {"experiment": (SHORT if first else LONG).digest(), "job": "first" if first else "second"}
        turn = replace(TURN, round=number, **changes)
        book.check(turn, agreement)
        assert book.releases(1.5) == {1.5: number + 1}
        book = book.answered(turn, bare=False, noise_multiplier=1.5)


def test_a_ledger_of_before_runs_could_go_on_is_read():
    kept = json.loads(trained(0, 1).to_json())
    del kept["runs"]["run"]["shorter"]
    assert parse(Ledger, json.dumps(kept).encode()) == trained(0, 1)


def test_runs_are_counted_by_experiment():
    book = trained(0)
    for number in range(2, 20):
        turn = {"job": f"job {number}", "run": f"run-{number}"}
        if number == 2:
            book = trained(0, book=book, **turn)
        assert reason(book, **turn, round=1) == (None if number == 2 else Reason.RUNS)
    assert reason(book, job="other", run="other", experiment="f" * 64) is None


def test_evaluations_are_counted_over_all_jobs_of_a_run():
    book = trained(0)
    for job in ("first", "second"):
        turn = replace(TURN, job=job, task=TASK_EVALUATE, round=1)
        book.check(turn, AGREED)
        book = book.answered(turn, bare=True)
    assert reason(book, job="second", task=TASK_EVALUATE, round=2) == Reason.EVALUATIONS
    assert reason(book, job="third", task=TASK_EVALUATE, round=1) == Reason.EVALUATIONS


def test_updates_with_noise_are_counted_by_their_noise_and_those_without_apart():
    book = Ledger()
    for number, multiplier in enumerate((2.0, 0.5, 2.0)):
        book = book.answered(replace(TURN, round=number), bare=False, noise_multiplier=multiplier)
    assert book.releases(0.5) == {2.0: 2, 0.5: 2}
    assert dict(book.noised) == {"2.0": 2, "0.5": 1}
    assert book.bare == 0
    assert trained(0, 1).bare == 2


@pytest.fixture
def places(tmp_path):
    return tmp_path / "gate", AuditLog(tmp_path / "audit.jsonl", tmp_path / "gate")


def test_it_outlives_the_process(places):
    with ledger.held(*places) as file:
        file.write(trained(0, 3))
    with ledger.held(*places) as file:
        assert file.read() == trained(0, 3)
    assert (places[0] / ledger.FILE_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["{", "[]", '{"rounds": {}, "noise": {}}', '{"version": 2, "bare": -1}'])
def test_a_damaged_ledger_lets_nothing_pass(places, text):
    places[0].mkdir()
    (places[0] / ledger.FILE_NAME).write_text(text)
    with (
        ledger.held(*places) as file,
        pytest.raises(
            FlapSamError, match=r"is damaged|is of version 1 of its format, this flap-sam reads version 2"
        ) as refused,
    ):
        file.read()
    assert refused.value.reason == Reason.LEDGER


def test_a_missing_ledger_is_refused_beside_a_log_of_releases(places):
    folder, log = places
    with ledger.held(folder, log) as file:
        assert file.read() == Ledger()
        log.write({"direction": "in"})
        assert file.read() == Ledger()
        log.write({"direction": "out", "sha256": "0" * 64})
        with pytest.raises(FlapSamError, match="is missing") as refused:
            file.read()
    assert refused.value.reason == Reason.LEDGER


def test_a_folder_that_cannot_be_written_is_told(tmp_path, places):
    (tmp_path / "gate").write_text("a file")
    with pytest.raises(FlapSamError, match="cannot be written") as refused, ledger.held(*places):
        pass
    assert refused.value.reason == Reason.LEDGER


def _spend(places, name):
    for number in range(20):
        with ledger.held(*places) as file:
            turn = replace(TURN, job=name, run=name, round=number)
            file.write(file.read().answered(turn, bare=False, noise_multiplier=1.0))


def test_two_processes_do_not_lose_each_others_answers(places):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_spend, args=(places, name)) for name in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with ledger.held(*places) as file:
        assert dict(file.read().noised) == {"1.0": 40}
