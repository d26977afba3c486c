"""The door writes where the gate writes, without importing it beforehand."""

import json
import subprocess
import sys

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.federation.door.log import audit_log, write
from flap_sam.federation.gate import audit
from flap_sam.federation.gate.agreement import Agreement

GOOD = {"experiments": [], "metrics": [], "largest_update": 1}


TEXTS = [json.dumps(GOOD | own) for own in ({}, {"audit": None}, {"audit": "/x/y.jsonl"}, {"audit": "~/z"})]


@pytest.mark.parametrize("text", [*TEXTS, "{}", "[]", "no json", ""])
def test_the_log_is_the_gates(tmp_path, text):
    (tmp_path / "local").mkdir()
    (tmp_path / "local/flap_gate.json").write_text(text)
    try:
        own = Agreement.read(tmp_path / "local").audit
    except FlapSamError:
        own = None
    assert audit_log(tmp_path) == (own or tmp_path / audit.FILE_NAME)


def test_a_line_is_bound_to_the_one_before_it(tmp_path):
    log = tmp_path / "log.jsonl"
    audit.write(log, {"job": "a"})
    write(log, {"door": "refused"})
    assert audit.broken_line(log) is None
    assert json.loads(log.read_text().splitlines()[1])["door"] == "refused"


def test_a_parent_process_has_no_torch():
    code = "import sys, flap_sam.federation.door.component; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
