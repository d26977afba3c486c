# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.strict import parse
from flap_sam.gate.agreement import FILE_NAME, Agreement, Privacy
from flap_sam.wire.messages import METRICS

NOISE = {"clip": 1.0, "noise_multiplier": 2, "epsilon": 8.0, "delta": 1e-5, "slices": 100}
GOOD = {
    "experiments": [{"rank": 4}],
    "metrics": ["loss"],
    "largest_update": 3.0,
    "largest_payload": 30.0,
    "runs": 1,
    "repeats": 1,
    "evaluations": 2,
}


def written(folder, **changes):
    (folder / FILE_NAME).write_text(json.dumps(GOOD | changes))
    return folder


def test_it_admits_the_experiments_it_names_and_no_other(tmp_path):
    agreement = Agreement.read(written(tmp_path))
    assert agreement.admits(Experiment(rank=4))
    assert not agreement.admits(Experiment(rank=4, seed=2))
    assert set(agreement.withheld) == set(METRICS) - {"loss"}


def test_an_experiment_agreed_to_in_full_is_the_one_agreed_to_in_short(tmp_path):
    assert Agreement.read(written(tmp_path, experiments=[dict(Experiment(rank=4))])).admits(Experiment(rank=4))


def test_it_comes_back_from_its_own_json(tmp_path):
    agreement = Agreement.read(written(tmp_path, metrics=[], privacy=NOISE))
    assert parse(Agreement, agreement.to_json()) == agreement


def test_without_an_agreement_nothing_may_leave(tmp_path):
    with pytest.raises(FlapSamError, match="nothing passes") as refused:
        Agreement.read(tmp_path)
    assert refused.value.reason == Reason.AGREEMENT


def test_with_an_empty_agreement_nothing_passes_and_the_sentence_says_what_to_do(tmp_path):
    told = f"lists no experiment, so nothing passes; .*`flap-sam kit {tmp_path.parent} --job JOB`"
    with pytest.raises(FlapSamError, match=told) as refused:
        Agreement.read(written(tmp_path, experiments=[]))
    assert refused.value.reason == Reason.NOT_AGREED


def test_noise_is_read_whole(tmp_path):
    assert Agreement.read(written(tmp_path, metrics=[], privacy=NOISE)).privacy == parse(Privacy, json.dumps(NOISE))


@pytest.mark.parametrize("missing", GOOD)
def test_nothing_stands_in_for_a_number_that_was_not_agreed(tmp_path, missing):
    (tmp_path / FILE_NAME).write_text(json.dumps({name: value for name, value in GOOD.items() if name != missing}))
    with pytest.raises(FlapSamError, match=f"{missing} is missing"):
        Agreement.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metrics": ["age"]}, "metrics.0 is 'age', expected one of loss"),
        ({"metrics": "loss"}, "metrics is 'loss', expected a list"),
        ({"largest_update": float("inf")}, "largest_update is inf"),
        ({"largest_update": True}, "largest_update is True"),
        ({"largest_update": 0}, "largest_update is 0"),
        ({"largest_payload": -1.0}, "largest_payload is -1"),
        ({"runs": 0}, "runs is 0"),
        ({"evaluations": 1.5}, "evaluations is 1.5"),
        ({"over": "warn"}, "over is 'warn', expected 'block' or 'clip'"),
        ({"release_bits": 1}, "release_bits is 1"),
        ({"release_bits": 17}, "release_bits is 17"),
        ({"experiments": [{"rank": 0}]}, "rank is 0"),
        ({"experiments": [{"rang": 4}]}, "unknown settings"),
        ({"experiment": []}, "experiment is unknown"),
        ({"privacy": {"clip": 1.0}}, "privacy.noise_multiplier is missing"),
        ({"privacy": NOISE | {"clip": 0}}, "privacy.clip is 0"),
        ({"privacy": NOISE | {"delta": 1}}, "privacy.delta is 1"),
        ({"privacy": NOISE | {"noise_multiplier": 257}}, "privacy.noise_multiplier is 257"),
        ({"privacy": NOISE}, "expected metrics \\[\\] with privacy"),
        ({"privacy": NOISE, "metrics": [], "release_bits": 8}, "release_bits null with privacy"),
        ({"over": "clip", "experiments": [{"payload_dtype": "int8"}]}, "one has int8"),
        ({"release_bits": 8, "experiments": [{"payload_dtype": "int8"}]}, "one has int8"),
        ({"privacy": NOISE, "metrics": [], "experiments": [{"payload_dtype": "int8"}]}, "one has int8"),
    ],
)
def test_what_is_no_agreement_is_told_in_a_sentence(tmp_path, changes, sentence):
    with pytest.raises(FlapSamError, match=sentence):
        Agreement.read(written(tmp_path, **changes))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"metrics": []}', '{"runs": 1, "runs": 2}'])
def test_a_damaged_agreement_admits_nothing(tmp_path, text):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(FlapSamError, match="cannot be used"):
        Agreement.read(tmp_path)
