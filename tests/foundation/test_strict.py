"""Strict models: nothing is taken for something else, and the sentence names the field."""

from typing import Annotated

import pytest
from flap_sam.foundation.strict import StrictModel, checked, loads, parse
from pydantic import Field, ValidationError


class Inner(StrictModel):
    rows: tuple[int, ...]


class Example(StrictModel):
    name: str
    share: Annotated[float, Field(gt=0, le=1)]
    inner: Inner
    note: str | None = None


GOOD = '{"name": "a", "share": 1, "inner": {"rows": [1, 2]}}'


def test_a_model_comes_back_from_its_own_json():
    example = parse(Example, GOOD)
    assert example == Example(name="a", share=1.0, inner=Inner(rows=(1, 2)))
    assert parse(Example, example.to_json()) == example


def test_a_changed_model_is_checked_anew():
    example = parse(Example, GOOD)
    assert example.changed(name="b", note="n") == Example(name="b", share=1.0, inner=Inner(rows=(1, 2)), note="n")
    for wrong, sentence in (({"share": 2.0}, "share is 2.0, expected less"), ({"age": 3}, "age is unknown")):
        with pytest.raises(ValueError, match=f"^{sentence}"):
            example.changed(**wrong)


def test_values_make_the_model_that_their_json_makes():
    assert checked(Example, loads(GOOD) | {"inner": {"rows": (1, 2)}}) == parse(Example, GOOD)


def test_a_model_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        parse(Example, GOOD).name = "b"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "it is no JSON"),
        (b"\xff\xfe", "it is no JSON"),
        ("[]", r"it is \[\], expected"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"share": 1, "inner": {"rows": []}}', "name is missing"),
        ('{"name": "a", "name": "b", "share": 1, "inner": {"rows": []}}', "name stands in it twice"),
        ('{"name": "a", "share": 1, "inner": {"rows": [], "rows": []}}', "rows stands in it twice"),
        ('{"name": "a", "share": 1, "inner": {"rows": []}, "age": 3}', "age is unknown"),
        ('{"name": 1, "share": 1, "inner": {"rows": []}}', "name is 1, expected a valid string"),
        ('{"name": "a", "share": "1", "inner": {"rows": []}}', "share is '1', expected a valid number"),
        ('{"name": "a", "share": 0, "inner": {"rows": []}}', "share is 0(.0)?, expected greater than 0"),
        ('{"name": "a", "share": NaN, "inner": {"rows": []}}', "share is nan, expected a finite number"),
        ('{"name": "a", "share": true, "inner": {"rows": []}}', "share is True, expected a valid number"),
        ('{"name": "a", "share": 1, "inner": {"rows": [1, 2.5]}}', "inner.rows.1 is 2.5, expected a valid integer"),
        ('{"name": "a", "share": 1, "inner": {"rows": [true]}}', "inner.rows.0 is True, expected a valid integer"),
    ],
)
def test_each_fault_is_named(text, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        parse(Example, text)
