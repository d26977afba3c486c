# SPDX-License-Identifier: Apache-2.0
import pytest
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError


def test_nothing_said_is_the_default():
    assert RunPolicy.from_dict(None) == RunPolicy.from_dict({}) == RunPolicy()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_sites", 0),
        ("min_sites", 2.0),
        ("sites_a_round", True),
        ("round_timeout", -1),
        ("round_timeout", None),
        ("wait_after_min", "10"),
        ("patience", 0),
        ("best_by", 0),
        ("best_by", "mean"),
        ("largest_norm", 0),
        ("largest_norm", "1"),
        ("largest_norm", float("inf")),
        ("norm_limit", 1),
        ("norm_limit", float("nan")),
        ("largest_share", 0.05),
        ("largest_share", 1.5),
        ("largest_share", None),
        ("largest_slices", {"A": 0}),
        ("largest_slices", [1]),
        ("resume", 3),
        ("first_round_timeout", -1),
        ("first_round_timeout", True),
        ("start", "../a.safetensors"),
        ("start", 3),
    ],
)
def test_a_bad_value_is_refused_by_name(name, value):
    with pytest.raises(FlapSamError, match=f"policy's {name} is "):
        RunPolicy.from_dict({name: value})


def test_what_nobody_asked_for_is_refused():
    with pytest.raises(FlapSamError, match="settings"):
        RunPolicy.from_dict({"minimum": 3})
    with pytest.raises(FlapSamError, match="settings"):
        RunPolicy.from_dict([3])
    with pytest.raises(FlapSamError, match="at most sites_a_round, 2"):
        RunPolicy(min_sites=3, sites_a_round=2)
    with pytest.raises(FlapSamError, match=r"wait_after_min is 5.0; expected null where min_sites is null"):
        RunPolicy(wait_after_min=5)
    with pytest.raises(FlapSamError, match=r"start is 'a.safetensors'; expected null where resume is set"):
        RunPolicy(start="a.safetensors", resume="latest")


@pytest.mark.parametrize(
    ("first", "usual", "expected"),
    [(None, 0.0, 0.0), (None, 30, 300), (45, 30, 45), (0, 30, 0), (10, 0.0, 10)],
)
def test_the_first_task_has_a_timeout_of_its_own_ten_times_the_usual_where_nothing_is_said(first, usual, expected):
    policy = RunPolicy(round_timeout=usual, first_round_timeout=first)
    assert (policy.timeout(True), policy.timeout(False)) == (expected, usual)
