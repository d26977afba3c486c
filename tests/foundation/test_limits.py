# SPDX-License-Identifier: Apache-2.0
"""What a field may be, in the words that its page and its refusals use."""

from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from flap_sam.foundation.limits import Check, limits
from flap_sam.foundation.strict import StrictModel, checked
from pydantic import Field

Even = Check(lambda number: number % 2 == 0, "an even number")
Later = Check(lambda _: True, lambda: "what is installed")
Rank = Annotated[int, Field(ge=1, le=64)]


class Settings(StrictModel):
    free: int = 0
    between: Annotated[int, Field(ge=1, le=64)] = 1
    fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    least: Annotated[float, Field(ge=0.25)] = 1.0
    above: Annotated[float, Field(gt=0)] = 1.0
    above_up_to: Annotated[float, Field(gt=0, le=9)] = 1.0
    multiple: Annotated[int, Field(multiple_of=16, ge=16, le=2048)] = 16
    choice: Literal["lora", "dora"] = "lora"
    number_of: Literal[2, 3] = 2
    or_null: Annotated[float, Field(gt=0)] | None = None
    free_or_null: str | None = None
    inside: Rank = 1
    by_name: Mapping[str, Rank] = {}
    by_name_free: Mapping[str, str] = {}
    even: Annotated[int, Even] = 0
    small_and_even: Annotated[int, Field(ge=0, le=8), Even] = 0
    later: Annotated[str, Later] = ""


WORDS = {
    "free": "",
    "between": "1 to 64",
    "fraction": "0 to 0.5",
    "least": "0.25 or more",
    "above": "above 0",
    "above_up_to": "above 0, up to 9",
    "multiple": "a multiple of 16, 16 to 2048",
    "choice": "one of lora, dora",
    "number_of": "one of 2, 3",
    "or_null": "above 0, or null",
    "free_or_null": "",
    "inside": "1 to 64",
    "by_name": "each value a whole number, 1 to 64",
    "by_name_free": "each value a text",
    "even": "an even number",
    "small_and_even": "0 to 8, an even number",
    "later": "what is installed",
}


def test_every_kind_of_field_is_here():
    assert list(WORDS) == list(Settings.model_fields)


@pytest.mark.parametrize("name", WORDS)
def test_limits_in_words(name):
    assert limits(Settings.model_fields[name]) == WORDS[name]


@pytest.mark.parametrize("value", [-2, 0, 3, 4])
def test_a_check_lets_pass_what_its_function_says_and_refuses_in_its_words(value):
    if value % 2 == 0:
        assert checked(Settings, {"even": value}).even == value
    else:
        with pytest.raises(ValueError, match="even is 3, expected an even number"):
            checked(Settings, {"even": value})


def test_a_type_is_looked_at_before_a_check():
    with pytest.raises(ValueError, match="even is 'two', expected a whole number"):
        checked(Settings, {"even": "two"})
