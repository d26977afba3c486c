# SPDX-License-Identifier: Apache-2.0
"""What another party sent is refused in a sentence, of whatever type it is."""

import json

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError, Reason
from flap_sam.gate.rules import Content, check_names, question
from flap_sam.wire.messages import EXPERIMENT, RUN, SPOKEN, TASK_TRAIN, VERSION

JSON = Experiment().to_json()


def named_by_type(sent: object) -> str:
    """The same name of a test in every process, whatever is sent."""
    return type(sent).__name__


@pytest.mark.parametrize("sent", [None, 5, True, [JSON], json.loads(JSON), JSON.encode(), object()], ids=named_by_type)
def test_an_experiment_that_is_no_text_is_refused_whatever_the_site_has_agreed_to(sent):
    task = Content({EXPERIMENT: sent, RUN: "run", VERSION: SPOKEN}, 0, {})
    with pytest.raises(FlapSamError, match=f"experiment is {type(sent).__name__}; expected a text") as refused:
        question(TASK_TRAIN, task, agreement=None)  # it is not asked
    assert refused.value.reason == Reason.EXPERIMENT


@pytest.mark.parametrize("sent", [None, 5, True, object()], ids=named_by_type)
@pytest.mark.parametrize("expected", [set(), {"report"}])
def test_what_has_no_names_is_refused_where_names_are_expected(sent, expected):
    with pytest.raises(FlapSamError, match=f"are {type(sent).__name__}; expected {'report' if expected else 'none'}"):
        check_names("the result's tensors", sent, expected)


def test_the_names_that_are_expected_pass_in_any_order():
    check_names("the entries", ["b", "a"], {"a", "b"})
    with pytest.raises(FlapSamError, match=r"The entries are a, c; expected a, b\."):
        check_names("the entries", {"c": 1, "a": 2}, {"a", "b"})
