import json

import pytest
import torch
from flap_sam.federation.gate import audit


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "deep" / "audit.jsonl"
    for number in range(3):
        audit.write(path, {"round": number})
    return path


def test_every_line_tells_what_happened_and_when(log):
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["round"] for line in lines] == [0, 1, 2]
    assert all(line["time"].endswith("+00:00") for line in lines)
    assert audit.broken_line(log) is None


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: [lines[0].replace(b'"round": 0', b'"round": 7'), *lines[1:]], 2),
        (lambda lines: [lines[1], lines[0], lines[2]], 1),
        (lambda lines: [*lines[:2], b"not json\n"], 3),
    ],
)
def test_a_line_changed_taken_out_or_moved_is_found(log, change, broken):
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(change(lines)))
    assert audit.broken_line(log) == broken


def test_a_digest_is_of_names_types_shapes_and_numbers():
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1.0)}
    same = dict(reversed(tensors.items()))
    assert audit.digest(tensors) == audit.digest(same)
    others = [
        {"a": tensors["a"].reshape(3, 2), "b": tensors["b"]},
        {"a": tensors["a"].bfloat16(), "b": tensors["b"]},
        {"c": tensors["a"], "b": tensors["b"]},
        {"a": tensors["a"] + 1e-6, "b": tensors["b"]},
    ]
    assert len({audit.digest(t) for t in [tensors, *others]}) == 5
    assert audit.digest({"a": tensors["a"].mT.contiguous().mT}) == audit.digest({"a": tensors["a"]})
