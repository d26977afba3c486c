# SPDX-License-Identifier: Apache-2.0
"""Every file that a run leaves says its version; another one is refused, naming both, and no version is the first."""

import json

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.records import cell, results, round_log, run_record
from flap_sam.records.cell import CELL, CellNote, FinishedCell
from flap_sam.records.results import TEST_DICE, Scores
from flap_sam.records.round_log import ROUND_LOG, RoundRecord
from flap_sam.records.run_record import FEDERATED, RUN_RECORD, RunRecord

from tests.report.cells import note, row
from tests.report.runs import EXPERIMENT, made_run

LINES = "cells.jsonl"
KINDS = {ROUND_LOG: RoundRecord, RUN_RECORD: RunRecord, TEST_DICE: Scores, CELL: CellNote, LINES: FinishedCell}
READERS = {
    ROUND_LOG: round_log.read,
    RUN_RECORD: run_record.read,
    TEST_DICE: results.read_scores,
    CELL: cell.read,
    LINES: lambda folder: cell.read_lines(folder / LINES),
}


@pytest.fixture
def folder(tmp_path):
    made = made_run(tmp_path, rounds=1)
    note(FEDERATED, None, {}, 1, EXPERIMENT, ("A", "B", "C")).write(made)
    cell.write_lines(made / LINES, row(0.5))
    return made


def version_of(name: str) -> int:
    return KINDS[name].model_fields["version"].default


def rewrite(file, version: int | None) -> None:
    found = json.loads(file.read_text())
    found.pop("version")
    file.write_text(json.dumps(found if version is None else found | {"version": version}) + "\n")


@pytest.mark.parametrize("name", READERS)
def test_a_file_says_its_version_and_another_is_refused_naming_both(folder, name):
    known = version_of(name)
    assert json.loads((folder / name).read_text())["version"] == known
    for other, told in ((known + 1, "update flap-sam"), (known - 1, "an older flap-sam wrote it")):
        rewrite(folder / name, other)
        sentence = f"it is of version {other} of its format, this flap-sam reads version {known}: {told}"
        with pytest.raises(FlapSamError, match=sentence) as refused:
            READERS[name](folder)
        assert str(folder) in str(refused.value)


@pytest.mark.parametrize("name", READERS)
def test_a_file_without_a_version_is_of_the_first(folder, name):
    before = READERS[name](folder)
    rewrite(folder / name, None)
    if version_of(name) == 1:
        assert READERS[name](folder) == before
    else:
        with pytest.raises(FlapSamError, match="it is of version 1 of its format"):
            READERS[name](folder)
