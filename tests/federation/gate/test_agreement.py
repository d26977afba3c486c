import json
from dataclasses import asdict

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.experiment import Experiment
from flap_sam.federation.gate.agreement import FILE_NAME, Agreement, Privacy
from flap_sam.federation.messages import METRICS

NOISE = {"clip": 1.0, "noise_multiplier": 2, "epsilon": 8.0, "delta": 1e-5}


def written(folder, **changes):
    settings = {"experiments": [{"rank": 4}], "metrics": ["loss"], "largest_update": 3.0} | changes
    (folder / FILE_NAME).write_text(json.dumps(settings))
    return folder


def test_it_admits_the_experiments_it_names_and_no_other(tmp_path):
    agreement = Agreement.read(written(tmp_path))
    assert agreement.admits(Experiment(rank=4))
    assert not agreement.admits(Experiment(rank=4, seed=2))
    assert set(agreement.withheld) == set(METRICS) - {"loss"}


def test_an_experiment_agreed_to_in_full_is_the_one_agreed_to_in_short(tmp_path):
    assert Agreement.read(written(tmp_path, experiments=[asdict(Experiment(rank=4))])).admits(Experiment(rank=4))


def test_without_an_agreement_nothing_may_leave(tmp_path):
    with pytest.raises(FlapSamError, match="nothing may leave") as refused:
        Agreement.read(tmp_path)
    assert str(tmp_path) not in refused.value.public


def test_noise_is_read_whole(tmp_path):
    assert Agreement.read(written(tmp_path, privacy=NOISE)).privacy == Privacy(**NOISE)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metrics": ["age"]}, r"metrics are \['age'\]; expected some of loss"),
        ({"metrics": "loss"}, "metrics is str; expected a list"),
        ({"largest_update": float("inf")}, "largest_update is inf"),
        ({"largest_update": True}, "largest_update is True"),
        ({"over": "warn"}, "over is 'warn'; expected block or clip"),
        ({"experiments": [{"rank": 0}]}, "rank is 0"),
        ({"experiment": []}, "its entries are"),
        ({"privacy": {"clip": 1.0}}, "privacy is"),
        ({"privacy": NOISE | {"clip": 0}}, "privacy.clip is 0"),
        ({"privacy": NOISE | {"delta": 1}}, "privacy.delta is 1"),
        ({"over": "clip", "experiments": [{"payload_dtype": "int8"}]}, "an int8 experiment"),
    ],
)
def test_what_is_no_agreement_is_told_in_a_sentence(tmp_path, changes, sentence):
    with pytest.raises(FlapSamError, match=sentence):
        Agreement.read(written(tmp_path, **changes))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"metrics": []}'])
def test_a_damaged_agreement_admits_nothing(tmp_path, text):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(FlapSamError, match="cannot be used"):
        Agreement.read(tmp_path)
