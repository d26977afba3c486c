import multiprocessing

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.federation.gate import ledger
from flap_sam.federation.gate.ledger import Ledger
from flap_sam.federation.messages import TASK_EVALUATE, TASK_TRAIN


def trained(*rounds, job="first"):
    book = Ledger()
    for number in rounds:
        book.admit("run", job, TASK_TRAIN, number)
        book.note("run", job, TASK_TRAIN, number)
    return book


def test_rounds_rise_within_a_job():
    book = trained(0, 1, 4)
    for number in (0, 3, 4):
        with pytest.raises(FlapSamError, match=rf"again to train round {number}; expected round 5 or later"):
            book.admit("run", "first", TASK_TRAIN, number)
    book.admit("run", "first", TASK_TRAIN, 5)
    book.admit("another run", "first", TASK_TRAIN, 0)


def test_a_job_that_continues_a_run_may_ask_for_its_last_round_again():
    book = trained(0, 1, 2)
    book.admit("run", "second", TASK_TRAIN, 2)
    with pytest.raises(FlapSamError, match="expected round 2 or later"):
        book.admit("run", "second", TASK_TRAIN, 1)
    book.note("run", "second", TASK_TRAIN, 2)
    with pytest.raises(FlapSamError, match="expected round 3 or later"):
        book.admit("run", "second", TASK_TRAIN, 2)


def test_a_payload_is_evaluated_once_in_a_job():
    book = trained(0)
    book.note("run", "first", TASK_EVALUATE, 1)
    with pytest.raises(FlapSamError, match="again to evaluate round 1"):
        book.admit("run", "first", TASK_EVALUATE, 1)
    book.admit("run", "first", TASK_EVALUATE, 0)
    book.admit("run", "second", TASK_EVALUATE, 1)


def test_noised_releases_are_counted_by_their_noise():
    book = Ledger()
    for multiplier in (2.0, 0.5, 2.0):
        book.spend(multiplier)
    assert book.releases(0.5, 1) == {2.0: 2, 0.5: 2}
    assert book.noise == {"2.0": 2, "0.5": 1}


def test_it_outlives_the_process_and_an_error_changes_nothing(tmp_path):
    with ledger.opened(tmp_path) as book:
        book.note("run", "first", TASK_TRAIN, 3)
    with pytest.raises(FlapSamError), ledger.opened(tmp_path) as book:
        _note_and_fail(book)
    with ledger.opened(tmp_path) as book:
        assert book.rounds["run"]["train"] == 3


def _note_and_fail(book):
    book.note("run", "first", TASK_TRAIN, 4)
    raise FlapSamError("the budget is spent")


def test_a_damaged_ledger_lets_nothing_pass(tmp_path):
    (tmp_path / ledger.FILE_NAME).write_text("{")
    with pytest.raises(FlapSamError, match="is damaged") as refused, ledger.opened(tmp_path):
        pass
    assert str(tmp_path) not in refused.value.public


def _spend(folder):
    for _ in range(20):
        with ledger.opened(folder) as book:
            book.spend(1.0)


def test_two_processes_do_not_lose_each_others_releases(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_spend, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with ledger.opened(tmp_path) as book:
        assert book.noise == {"1.0": 40}
