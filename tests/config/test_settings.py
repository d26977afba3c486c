# SPDX-License-Identifier: Apache-2.0
"""Every setting of an experiment and of a run policy: what its field lets in, beside limits written out here."""

import json
import math

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.config.reads import READ_WITH
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.limits import limits
from hypothesis import given
from hypothesis import strategies as st

KINDS = {"experiment": (Experiment, Reason.EXPERIMENT), "run policy": (RunPolicy, Reason.STOPPED)}
WHOLES = {
    "classes": (1, 255),
    "rank": (1, 1024),
    "experts": (1, 64),
    "prompt_grid": (0, 64),
    "rounds": (1, 100_000),
    "local_epochs": (1, 1000),
    "batch_size": (1, 4096),
    "max_epochs": (1, 1_000_000),
    "warmup_steps": (0, 10_000_000),
    "seed": (0, 2**63 - 1),
    "sketch_width": (1, 65536),
    "min_sites": (1, math.inf),
    "sites_a_round": (1, math.inf),
    "patience": (1, math.inf),
    "best_by": (1, math.inf),
}
NUMBERS = {
    "foreground_share": (0, 1),
    "weight_decay": (0, 1e3),
    "decay_power": (0, 1e3),
    "alpha": (1e-6, 1e6),
    "learning_rate": (1e-9, 1e3),
    "energy": (0.01, 1),
    "hostile_share": (0, 0.49),
    "proximal": (0, 1e3),
    "surface_tolerance": (0, 100),
    "round_timeout": (0, math.inf),
    "first_round_timeout": (0, math.inf),
    "wait_after_min": (0, math.inf),
    "largest_share": (0.1, 1),
    "server_learning_rate": (math.ulp(0), 1e3),
    "largest_norm": (math.ulp(0), math.inf),
    "norm_limit": (math.nextafter(1, 2), math.inf),
}
CHOICES = {
    "backbone": "auto vit_tiny vit_b vit_l vit_h",
    "method": "fullft attnft decft pdecft loraft loradecft flap_sam masam",
    "adapter": "lora dora mole",
    "normalisation": "volume window",
    "augmentation": "none paper",
    "strategy": "svd factor-average freeze-a residual alternate fedsvd sketch",
    "split": "balanced paper",
    "robust": "none clip trimmed-mean median krum",
    "server_optimizer": "none momentum adam yogi",
    "payload_dtype": "float32 float16 bfloat16 int8",
}
NULLABLE = {"image_size", "sketch_width", "server_learning_rate", "min_sites", "sites_a_round", "first_round_timeout"}
NULLABLE |= {"wait_after_min", "patience", "best_by", "largest_norm", "norm_limit", "resume", "start"}
BESIDE = {"wait_after_min": {"min_sites": 1}}
FIELDS = [(called, name) for called, (kind, _) in KINDS.items() for name in kind.model_fields]


def good(called: str, name: str, value: object):
    """The settings with one of this value, and with what it needs to be read."""
    beside = dict(BESIDE.get(name, {}))
    if called == "experiment":
        for other, values in READ_WITH[name].items():
            default = Experiment.model_fields[other].default
            beside[other] = default if default in values else values[0]
    return KINDS[called][0](**{name: value}, **beside)


def refuse(called: str, name: str, value: object) -> None:
    kind, reason = KINDS[called]
    with pytest.raises(FlapSamError, match=rf"^The {called}'s {name} is .*; expected .+\.$") as refused:
        kind(**{name: value})
    assert refused.value.reason == reason


def of(table) -> list[tuple[str, str]]:
    return [(called, name) for called, name in FIELDS if name in table]


@pytest.mark.parametrize(("called", "name"), of(WHOLES))
@given(data=st.data())
def test_a_whole_number_is_taken_within_its_limits_and_nowhere_else(called, name, data):
    lowest, highest = WHOLES[name]
    top = 10**30 if highest == math.inf else highest
    value = data.draw(st.one_of(st.integers(lowest - 3, lowest + 3), st.integers(top - 3, top + 3)))
    if lowest <= value <= highest:
        assert getattr(good(called, name, value), name) == value
    else:
        refuse(called, name, value)


@pytest.mark.parametrize(("called", "name"), of(NUMBERS))
@given(data=st.data())
def test_a_number_is_taken_within_its_limits_and_nowhere_else(called, name, data):
    lowest, highest = NUMBERS[name]
    top = 1e300 if highest == math.inf else highest
    ends = [lowest, top, math.nextafter(lowest, -1), math.nextafter(highest, math.inf), math.inf, -math.inf, math.nan]
    value = data.draw(st.one_of(st.sampled_from(ends), st.floats(), st.floats(lowest, top), st.integers(-3, 2000)))
    if lowest <= value <= highest and value != math.inf:
        found = getattr(good(called, name, value), name)
        assert found == value
        assert type(found) is float
    else:
        refuse(called, name, value)


@pytest.mark.parametrize(("called", "name"), of(CHOICES))
@given(other=st.text())
def test_a_choice_is_taken_and_no_other_text(called, name, other):
    choices = CHOICES[name].split()
    assert limits(KINDS[called][0].model_fields[name]).partition(" (")[0] == "one of " + ", ".join(choices)
    for choice in choices:
        assert getattr(good(called, name, choice), name) == choice
    if other not in choices:
        refuse(called, name, other)


@given(size=st.integers(-64, 2200))
def test_an_image_size_is_a_multiple_of_16(size):
    if size % 16 == 0 and 0 < size <= 2048:
        assert Experiment(image_size=size).image_size == size
    else:
        refuse("experiment", "image_size", size)


@given(rank=st.integers(1, 1024), own=st.integers(-1, 1030))
def test_a_sites_rank_is_at_most_the_experiments(rank, own):
    if 1 <= own <= rank:
        assert Experiment(rank=rank, ranks={"A": own}).at("A").rank == own
    else:
        with pytest.raises(FlapSamError, match=r"^The experiment's ranks is \{'A': .*\}; expected .*each value"):
            Experiment(rank=rank, ranks={"A": own})


VALUES = {int: 3, float: 0.25, bool: True, str: "7", list: [1], dict: {"a": []}, set: {1}, type(None): None}


@pytest.mark.parametrize("wrong", VALUES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("called", "name"), FIELDS)
def test_a_value_of_another_type_is_refused(called, name, wrong):
    if name in WHOLES or name == "image_size":
        right = {int}
    elif name in NUMBERS:
        right = {int, float}
    elif name in CHOICES or name == "dataset":
        right = {str}
    else:
        right = {str} if name in ("resume", "start") else {dict}
    if wrong in right or (wrong is type(None) and name in NULLABLE):
        if wrong is type(None):
            assert getattr(KINDS[called][0](**{name: None}), name) is None
        return
    refuse(called, name, VALUES[wrong])


@pytest.mark.parametrize("called", KINDS)
@given(name=st.text(min_size=1), value=st.sampled_from([None, 1, "a"]))
def test_a_setting_that_nobody_knows_is_refused_by_name(called, name, value):
    kind, reason = KINDS[called]
    if name not in kind.model_fields:
        with pytest.raises(FlapSamError, match=f"^The {called} has unknown settings .*; known are ") as refused:
            kind.from_dict({name: value})
        assert refused.value.reason == reason


@pytest.mark.parametrize("found", [[3], "rank", 3, 1.5, True, [["rank", 3]]], ids=repr)
@pytest.mark.parametrize("called", KINDS)
def test_what_is_no_object_is_refused(called, found):
    with pytest.raises(FlapSamError, match=f"^The {called} is .*; expected an object of named settings"):
        KINDS[called][0].from_dict(found)


@pytest.mark.parametrize(("called", "name"), FIELDS)
def test_a_setting_that_is_left_out_has_its_default_and_none_can_be_changed_later(called, name):
    kind = KINDS[called][0]
    usual = kind()
    assert kind(**{other: value for other, value in usual if other != name}) == usual
    assert kind.from_dict(json.loads(json.dumps(dict(usual)))) == usual
    with pytest.raises(ValueError, match="frozen"):
        setattr(usual, name, getattr(usual, name))


def test_no_two_settings_share_what_they_hold():
    one, other = Experiment(), Experiment()
    assert one.ranks is not other.ranks
    ranks = {"A": 4}
    held = Experiment(ranks=ranks)
    ranks["A"] = 5
    assert held.ranks == {"A": 4}


@given(ranks=st.dictionaries(st.sampled_from("ABC"), st.integers(1, 32)), seed=st.integers(0, 3))
def test_equal_experiments_are_one_in_a_set(ranks, seed):
    turned = dict(reversed(ranks.items()))
    assert len({Experiment(ranks=ranks, seed=seed, alpha=2), Experiment(ranks=turned, seed=seed, alpha=2.0)}) == 1
    assert Experiment(ranks=ranks, seed=seed) != Experiment(ranks=ranks, seed=seed + 1)
