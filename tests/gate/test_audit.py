# SPDX-License-Identifier: Apache-2.0
import multiprocessing
from collections.abc import Callable

import pytest
from flap_sam.errors import FlapSamError, Reason
from flap_sam.gate import audit
from flap_sam.gate.audit import AuditLog


@pytest.fixture
def log(tmp_path) -> AuditLog:
    log = AuditLog(tmp_path / "deep" / "audit.jsonl", tmp_path / "state")
    for number in range(3):
        log.write({"round": number})
    return log


def test_every_line_tells_what_happened_and_when(log):
    lines = list(log.entries())
    assert [line["round"] for line in lines] == [0, 1, 2]
    assert all(line["time"].endswith("+00:00") for line in lines)
    assert log.verify() is None


def test_nobody_else_may_read_log_or_head(log):
    assert [path.stat().st_mode & 0o777 for path in (log.path, log.head_path)] == [0o600, 0o600]


def test_it_knows_of_releases(log):
    assert not log.has_releases()
    log.write({"sha256": "of what left"})
    assert log.has_releases()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda lines: [lines[0], lines[2]], "line 2 is not bound to line 1"),
        (
            lambda lines: [lines[0].replace(b'"round": 0', b'"round": 7'), *lines[1:]],
            "line 2 is not bound to line 1: either of them",
        ),
        (lambda lines: [lines[1], lines[0], lines[2]], "line 1 is not bound to the log's start"),
        (lambda lines: [*lines[:2], b"not json\n"], "line 3 is no JSON"),
        (lambda lines: lines[:2], "it ends with line 2, but its head knows 3 lines"),
        (lambda lines: lines[:0], "it ends with line 0, but its head knows 3 lines"),
        (lambda lines: [*lines[:2], lines[2].replace(b'"round": 2', b'"round": 7')], "or another last one"),
    ],
)
def test_a_line_changed_taken_out_or_moved_is_found(log, change, sentence):
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(change(lines)))
    assert sentence in log.verify()


def test_a_missing_head_or_log_is_found(log):
    log.head_path.rename(log.head_path.with_suffix(".away"))
    assert "head" in log.verify()
    log.head_path.with_suffix(".away").rename(log.head_path)
    log.path.unlink()
    assert "the log is missing" in log.verify()


DAMAGE: dict[str, Callable[[AuditLog], object]] = {
    "a line was taken out": lambda log: log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(True)[:2])),
    "the log was taken away": lambda log: log.path.unlink(),
    "the head was taken away": lambda log: log.head_path.unlink(),
    "the head is damaged": lambda log: log.head_path.write_text("{"),
    "lines were added": lambda log: log.path.write_bytes(log.path.read_bytes() + b'{"previous": "0"}\n'),
    "the log is a folder": lambda log: (log.path.unlink(), log.path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_nothing_is_written_to_a_log_that_is_not_the_one_that_was_left(log, damage):
    damage(log)
    with pytest.raises(FlapSamError) as refused:
        log.write({"round": 3})
    assert refused.value.reason == Reason.AUDIT


@pytest.mark.parametrize("part", [b"", b"{", b'{"round": 3, "prev'])
def test_a_part_of_a_line_that_a_killed_process_left_is_removed(log, part):
    log.path.write_bytes(log.path.read_bytes() + part)
    log.write({"round": 3})
    assert [line["round"] for line in log.entries()] == [0, 1, 2, 3]
    assert log.verify() is None


def test_a_line_written_by_a_process_killed_before_the_head_stays(log):
    head = log.head_path.read_bytes()
    log.write({"round": 3})
    log.head_path.write_bytes(head)
    log.write({"round": 4})
    assert [line["round"] for line in log.entries()] == [0, 1, 2, 3, 4]
    assert log.verify() is None


def test_a_full_disk_is_told(log, monkeypatch):
    monkeypatch.setattr(audit.os, "fsync", _full)
    with pytest.raises(FlapSamError, match="cannot be written") as refused:
        log.write({"round": 3})
    assert refused.value.reason == Reason.AUDIT


def test_a_head_that_cannot_be_written_for_a_while_locks_nobody_out(log, monkeypatch):
    """Log and head may lie on two disks, of which one is full."""
    for failed in range(3):
        monkeypatch.setattr(audit, "replacing", _full)
        with pytest.raises(FlapSamError) as refused:
            log.write({"round": 3})
        assert refused.value.reason == Reason.AUDIT, failed
    monkeypatch.undo()
    log.write({"round": 4})
    assert [line["round"] for line in log.entries()] == [0, 1, 2, 3, 4]
    assert log.verify() is None


def _full(*_arguments, **_settings):
    raise OSError(28, "No space left on device")


def _write(log):
    for number in range(20):
        log.write({"round": number})


def test_two_processes_write_one_chain(log):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write, args=(log,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(list(log.entries())) == 43
    assert log.verify() is None
