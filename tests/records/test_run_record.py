# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.records.run_record import RUN_RECORD, RunRecord, attempt, read

RECORD = RunRecord(
    run="20260101-a", setting="federated", demo=True, weights="bundled", attempts=[attempt(0, ["A"], {"min_sites": 1})]
)


def test_a_record_comes_back_as_it_was(tmp_path):
    longer = RECORD.resumed(attempt(3, ["A", "B"], {"resume": "latest"}))
    longer.write(tmp_path)
    assert read(tmp_path) == longer
    assert [s.first_round for s in longer.attempts] == [0, 3]
    assert longer.attempts[0].versions.keys() == {"flap-sam", "python", "torch", "nvflare"}
    assert longer.attempts[0].started.endswith("+00:00"), "UTC"


DAMAGES = [
    lambda text: text[:0],
    lambda text: f"[{text}]",
    lambda text: text[:-9],
    lambda text: text.replace('"run"', '"walk"'),
    lambda text: text.replace("federated", "united"),
    lambda text: text.replace("T", " at "),
    lambda text: text.replace('"bundled"', '"pandora"'),
    lambda text: json.dumps(json.loads(text) | {"attempts": []}),
    lambda text: json.dumps(json.loads(text) | {"attempts": [3]}),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_one_sentence(tmp_path, damage):
    RECORD.write(tmp_path)
    (tmp_path / RUN_RECORD).write_text(damage((tmp_path / RUN_RECORD).read_text()))
    with pytest.raises(FlapSamError, match=r"Run record .* cannot be read"):
        read(tmp_path)


def test_a_missing_record_is_one_sentence(tmp_path):
    with pytest.raises(FlapSamError, match="cannot be read"):
        read(tmp_path)
