# SPDX-License-Identifier: Apache-2.0
import json

import torch
from flap_sam.config.experiment import Experiment
from flap_sam.export.provenance import closing, provenance
from flap_sam.foundation.files import sha256
from flap_sam.inference.model import Model
from flap_sam.sam.weights import Weights


def test_every_export_carries_experiment_notes_and_the_payloads_hash(small, tmp_path):
    path = tmp_path / "payload.safetensors"
    path.write_bytes(b"payload")
    notes = {"round": 3, "validation_dice": None, "run": "run-1"}
    found = provenance(Model(torch.nn.Identity(), small, notes, Weights("random", None)), path)
    assert found.keys() == {"experiment", "notes", "payload_sha256"}
    assert all(isinstance(value, str) for value in found.values()), "safetensors' metadata holds texts alone"
    assert Experiment.from_json(found["experiment"]) == small
    assert json.loads(found["notes"]) == notes
    assert found["payload_sha256"] == sha256(path)
    assert str(tmp_path) not in "".join(found.values())


def test_a_card_ends_with_where_it_comes_from_and_that_it_is_no_medical_device(small):
    told = {"experiment": small.to_json(), "notes": "{}", "payload_sha256": "ab" * 32}
    text = closing(told)
    assert "not a medical device" in text
    assert "ab" * 32 in text
    assert Experiment.from_json(text.split("```json\n")[1].split("```")[0]) == small
