# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from flap_sam.config.experiment import ADDED, Experiment
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


@pytest.mark.parametrize(
    ("settings", "digest", "but_rounds"),
    [
        (
            {},
            "644994d7db627106934b04254ac46182009cde20dce14968d517da9dbb21b284",
            "9f898f48c7fc72dc8f05f0a699b5d36c17fc1feba972b914f405206fb76c4c4c",
        ),
        (
            {"classes": 3, "method": "loraft", "image_size": 96, "prompt_grid": 4},
            "b374e78618c21fe2d09933fec89886a7b682e6e0060d0b0dbf5dd35d6da1d637",
            "cc21be9c8c6e3f4f39163d0881114c242c04bc852add4d5504b2285a03455b26",
        ),
        (
            {"alpha": 2},
            "e9e7c71f53fcfe53bca13ec16f2e159e80db62551028c7eaa8e89d2ab9a01d0f",
            "dd01ee520dba3a4730446720a81e5eba16d2c86a2b3c1e527aa266a1cbd00ffc",
        ),
        (
            {"method": "decft", "seed": 7},
            "e40096e6cf7410862d76c4ebdf1a16b0e6ad4253b861c7d61aefe3787d159180",
            "2fb430ff45c9d38a445ce9b21c1cad29a4c8666839fd6061b2362d2b7401e7e0",
        ),
        (
            {"adapter": "mole", "experts": 2, "rank": 4, "energy": 0.5, "ranks": {"site-1": 2, "é": 3}},
            "ba26e618a5146c49a6a1744e9087071fe812c74d45b0ab4a97b7257fa31b1b36",
            "0845633ff15bba4c50fde810045a0b1f05cb20b82a0a4a44cc596d1030ad5eda",
        ),
        (
            {
                "robust": "krum",
                "hostile_share": 0.3,
                "server_optimizer": "adam",
                "server_learning_rate": 1,
                "learning_rate": 1e-05,
            },
            "e456efe75e3ceb5beb5af79058c78dd6460ecbff62d9850f177d1fe2e933525c",
            "0f8b8a0c92e4fc14ce95892530758fac038915dc4911b1722591b499ce8a0623",
        ),
        (
            {"dataset": "naïve", "weight_decay": 0, "payload_dtype": "int8", "rounds": 7},
            "42ec722be8eacc718fa9a8c2d564acdd41dde0f701d5c3df9e04b80b61b5147f",
            "40fda0836a50501a5c06140c21f721708f2b8902194881c4635332bfe31088f0",
        ),
    ],
)
def test_an_experiment_keeps_its_name_from_version_to_version(settings, digest, but_rounds):
    experiment = Experiment(**settings)
    assert (experiment.digest(), experiment.digest_but_rounds()) == (digest, but_rounds)


@pytest.mark.parametrize("width", [1, 192])
def test_a_setting_of_a_later_version_is_told_where_it_is_not_the_default(width):
    usual, set_ = Experiment(strategy="sketch"), Experiment(strategy="sketch", sketch_width=width)
    assert all(name not in json.loads(usual.to_json()) and name in json.loads(set_.to_json()) for name in ADDED)
    for one in (usual, set_):
        assert Experiment.from_json(one.to_json()) == Experiment.from_dict(dict(one)) == one
    assert len({usual.digest(), set_.digest(), usual.digest_but_rounds(), set_.digest_but_rounds()}) == 4


def test_pixels_are_known_once_the_image_size_is():
    assert Experiment().resolved("vit_b", 224).pixels == 224
    with pytest.raises(ValueError, match="image_size is null"):
        _ = Experiment().pixels
