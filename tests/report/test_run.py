# SPDX-License-Identifier: Apache-2.0
"""A run read whole from its folder, or refused in a sentence that names the file."""

import json
import math
import re

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import sha256
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES, TEST_DICE
from flap_sam.records.round_log import RoundRecord
from flap_sam.records.run_record import RUN_RECORD
from flap_sam.report.run import read, run_folder
from flap_sam.wire import payload

from tests.report.runs import EXPERIMENT, absences, made_run


def test_all_that_a_run_left_is_there(tmp_path):
    folder = made_run(tmp_path, sites=["site-10", "site-2"], pictures=True)
    assert run_folder(tmp_path) == run_folder(folder) == folder
    found = read(tmp_path)
    assert (found.finished, found.best_round, found.experiment) == (True, 3, EXPERIMENT)
    assert found.sites == found.answering == ["site-2", "site-10"]
    assert (len(found.rounds), len(found.answers), found.tests.keys()) == (3, 6, {FINAL, BEST})
    file = folder / PAYLOAD_FILES[BEST]
    kept = found.payloads[BEST]
    assert (kept.name, kept.size, kept.sha256) == (file.name, file.stat().st_size, sha256(file))
    assert (kept.round, kept.validation, found.payloads[FINAL].validation) == (3, 0.5, None)
    assert [caption.site for caption, _ in found.pictures] == ["site-2"] * 4 + ["site-10"] * 4


def test_who_was_asked_and_never_counted_is_a_site_of_the_run(tmp_path):
    def never(record: RoundRecord) -> RoundRecord:
        sites = {name: site for name, site in record.sites.items() if name != "site-1"}
        return record.changed(sites=sites, missing=["site-1"])

    made_run(tmp_path, change=never)
    found = read(tmp_path)
    assert (found.sites, found.answering) == (["site-1", "site-2", "site-3"], ["site-2", "site-3"])


def test_a_figure_of_a_round_in_which_a_site_did_not_count_is_a_gap(tmp_path):
    made_run(tmp_path, change=absences)
    found = read(tmp_path)
    assert found.by_round("site-1", lambda answer: answer.slices) == [None, None, 10]
    assert found.by_round("site-3", lambda answer: answer.slices) == [12, 12, 12]


def test_a_run_that_is_not_finished_has_no_scores_and_perhaps_no_best_payload(tmp_path):
    folder = made_run(tmp_path, finished=False)
    (folder / PAYLOAD_FILES[BEST]).unlink()
    found = read(tmp_path)
    assert (found.finished, found.best_round, found.tests, list(found.payloads)) == (False, None, {}, [FINAL])


def test_no_run_and_several_runs_are_one_sentence(tmp_path):
    with pytest.raises(FlapSamError, match="No run lies below"):
        run_folder(tmp_path)
    one, two = made_run(tmp_path / "one"), made_run(tmp_path / "two")
    with pytest.raises(FlapSamError, match="2 runs lie below") as several:
        run_folder(tmp_path)
    assert str(one) in str(several.value)
    assert str(two) in str(several.value)


@pytest.mark.parametrize("notes", [{"round": None}, {"round": "3"}, {"round": 3, "validation_dice": "high"}, {}])
def test_a_payload_whose_notes_are_no_figures_is_named(tmp_path, notes):
    path = made_run(tmp_path) / PAYLOAD_FILES[FINAL]
    payload.write(path, payload.read(path).tensors, EXPERIMENT, notes)
    with pytest.raises(FlapSamError, match=rf"Payload .*{path.name} starts round .*; expected numbers"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["rounds.jsonl", RUN_RECORD, TEST_DICE, PAYLOAD_FILES[FINAL]])
@pytest.mark.parametrize("content", [b"", b"{", b"[3]\n", b"{}\n", b"\xff\xfe"])
def test_a_damaged_file_is_one_sentence(tmp_path, name, content):
    (made_run(tmp_path) / name).write_bytes(content)
    with pytest.raises(FlapSamError, match=re.escape(name)):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "path", "value", "sentence"),
    [
        (RUN_RECORD, ("attempts", 0, "sites"), 3, "attempts.0.sites is 3, expected a list"),
        (
            RUN_RECORD,
            ("attempts", 0, "first_round"),
            "one",
            "attempts.0.first_round is 'one', expected a whole number",
        ),
        (TEST_DICE, ("best_round",), True, "best_round is True, expected a whole number"),
        (TEST_DICE, ("payloads", "best"), {}, "expected sites for final and best"),
        (TEST_DICE, ("payloads", "final", "site-2", "test", 0), "high", "final.site-2.test.0 is 'high', expected a"),
        (TEST_DICE, ("payloads", "final", "site-2", "test", 0), math.nan, "final.site-2.test.0 is nan, expected a"),
        (
            TEST_DICE,
            ("payloads", "final", "site-2", "test_spread", 0),
            -0.5,
            "final.site-2.test_spread.0 is -0.5, expected greater than or equal to",
        ),
        (TEST_DICE, ("payloads", "final", "site-2", "test"), [0.5], "lists by class of one length, not of [1, 2]"),
        (TEST_DICE, ("payloads", "final", "site-2", "test_cases"), 1.5, "final.site-2.test_cases is 1.5, expected a"),
    ],
)
def test_a_value_of_another_type_is_named(tmp_path, name, path, value, sentence):
    file = made_run(tmp_path) / name
    content = json.loads(file.read_text())
    holder = content
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    file.write_text(json.dumps(content))
    with pytest.raises(FlapSamError) as caught:
        read(tmp_path)
    assert str(file) in str(caught.value)
    assert sentence in str(caught.value)


def test_scores_and_payload_of_two_runs_are_refused(tmp_path):
    one = made_run(tmp_path / "one")
    other = made_run(tmp_path / "other", experiment=EXPERIMENT.changed(classes=3))
    (other / TEST_DICE).replace(one / TEST_DICE)
    with pytest.raises(FlapSamError, match=r"is of 3 classes, payload .* of 2"):
        read(tmp_path / "one")


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("pattern", [PAYLOAD_FILES[FINAL], TEST_DICE, RUN_RECORD, "round_*.png"])
def test_a_file_that_was_cut_off_is_named(tmp_path, pattern, share):
    made_run(tmp_path, pictures=True)
    file = next(tmp_path.rglob(pattern))
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FlapSamError, match=re.escape(file.name)):
        read(tmp_path)


def test_a_missing_record_is_one_sentence(tmp_path):
    (made_run(tmp_path) / RUN_RECORD).unlink()
    with pytest.raises(FlapSamError, match=re.escape(RUN_RECORD)):
        read(tmp_path)
