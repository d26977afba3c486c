import json

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError
from hypothesis import given
from hypothesis import strategies as st


def test_json_round_trip_keeps_the_digest():
    experiment = Experiment(classes=3, method="loraft", image_size=96, prompt_grid=4)
    again = Experiment.from_json(experiment.to_json())
    assert again == experiment
    assert again.digest() == experiment.digest() != Experiment().digest()


@given(rounds=st.lists(st.integers(1, 100), min_size=2, max_size=2), seed=st.integers(0, 1))
def test_more_rounds_and_nothing_else_is_longer(rounds, seed):
    one, other = (
        Experiment(rounds=rounds[0], ranks={"A": 4}),
        Experiment(rounds=rounds[1], ranks={"A": 4}, seed=1234 + seed),
    )
    assert other.is_longer(one) == (rounds[1] > rounds[0] and seed == 0)
    assert (other.digest_but_rounds() == one.digest_but_rounds()) == (seed == 0)
    assert (other.digest() == one.digest()) == (rounds[1] == rounds[0] and seed == 0)


def test_a_whole_number_in_place_of_a_number_is_the_same_experiment():
    assert Experiment(alpha=2).digest() == Experiment(alpha=2.0).digest()


@pytest.mark.parametrize("text", ["{", "[" * 5000, None, "3"])
def test_what_is_no_experiment_is_refused(text):
    with pytest.raises(FlapSamError, match="The experiment is"):
        Experiment.from_json(text)


def test_defaults_are_the_papers():
    experiment = Experiment()
    assert (experiment.rank, experiment.alpha, experiment.batch_size) == (32, 1.0, 32)
    assert (experiment.learning_rate, experiment.weight_decay, experiment.warmup_steps) == (8e-4, 0.1, 250)
    assert (experiment.rounds, experiment.local_epochs, experiment.max_epochs) == (100, 1, 200)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("classes", 0),
        ("classes", 2.0),
        ("classes", True),
        ("rank", "4"),
        ("image_size", 100),
        ("image_size", 0),
        ("method", "sam"),
        ("learning_rate", float("nan")),
        ("alpha", 0),
        ("weight_decay", -0.1),
        ("seed", None),
        ("seed", 2**63),
        ("decay_power", float("inf")),
        ("rank", 10**6),
        ("image_size", 160_000),
        ("strategy", "mean"),
        ("strategy", "stack"),
        ("split", "gauge"),
        ("energy", 0),
        ("ranks", {"site-1": 33}),
        ("ranks", {"site-1": True}),
        ("ranks", [4]),
        ("server_learning_rate", 0),
        ("server_learning_rate", "1"),
        ("hostile_share", 0.5),
        ("payload_dtype", "float64"),
    ],
)
def test_a_bad_value_is_refused_by_name(setting, value):
    with pytest.raises(FlapSamError, match=rf"experiment's {setting} is "):
        Experiment(**{setting: value})


def test_an_unknown_setting_is_refused():
    with pytest.raises(FlapSamError, match="unknown settings \\['depth'\\]"):
        Experiment.from_dict({"depth": 4})
    with pytest.raises(FlapSamError, match="not JSON"):
        Experiment.from_json("{")
    with pytest.raises(FlapSamError, match="expected an object"):
        Experiment.from_json(json.dumps([1]))


def test_resolving_fills_only_what_is_open():
    assert Experiment().resolved("vit_b", 224).backbone == "vit_b"
    fixed = Experiment(backbone="vit_l", image_size=96)
    assert fixed.resolved("vit_b", 224) == fixed


def test_a_site_may_have_its_own_rank():
    experiment = Experiment(ranks={"site-2": 8})
    assert (experiment.at("site-1").rank, experiment.at("site-2").rank) == (32, 8)
    assert Experiment.from_json(experiment.to_json()) == experiment
    assert hash(experiment) == hash(Experiment.from_json(experiment.to_json()))
