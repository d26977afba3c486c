# SPDX-License-Identifier: Apache-2.0
"""Strict models: nothing is taken for something else, and the sentence names the field."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import pytest
from flap_sam.foundation.strict import Count, Number, StrictModel, VersionError, checked, loads, parse, parse_lines
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
        ('{"name": 1, "share": 1, "inner": {"rows": []}}', "name is 1, expected a text"),
        ('{"name": "a", "share": "1", "inner": {"rows": []}}', "share is '1', expected a number"),
        ('{"name": "a", "share": 0, "inner": {"rows": []}}', "share is 0(.0)?, expected greater than 0"),
        ('{"name": "a", "share": NaN, "inner": {"rows": []}}', "share is nan, expected a finite number"),
        ('{"name": "a", "share": true, "inner": {"rows": []}}', "share is True, expected a number"),
        ('{"name": "a", "share": 1, "inner": {"rows": [1, 2.5]}}', "inner.rows.1 is 2.5, expected a whole number"),
        ('{"name": "a", "share": 1, "inner": {"rows": [true]}}', "inner.rows.0 is True, expected a whole number"),
    ],
)
def test_each_fault_is_named(text, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        parse(Example, text)


class Tree(StrictModel):
    version: Literal[2] = 2
    good: bool
    height: Number | None
    rings: Count
    words: Annotated[Sequence[str], Field(min_length=1)]
    name: Annotated[str, Field(max_length=5)]
    leaves: Mapping[str, Inner]
    settings: Mapping[str, object]


TREE = (
    '{"version": 2, "good": true, "height": null, "rings": 3, "words": ["x"], "name": "oak", '
    '"leaves": {"a.b": {"rows": [1]}}, "settings": {"y": [1, {}]}}'
)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("true", "1", "good is 1, expected true or false"),
        ("null", '"high"', "height is 'high', expected a number"),
        ("null", "-1e101", "height is -1e\\+101, expected greater"),
        ("null", "1" + "0" * 400, "height is .*, expected "),
        ("null", "-Infinity", "height is -inf, expected a finite number"),
        ("3", "1" + "0" * 400, "rings is 1000.*, expected less"),
        ("3", "-3", "rings is -3, expected greater"),
        ("3", "1" + "0" * 5000, "Exceeds the limit"),
        ('["x"]', '"x"', "words is 'x', expected a list"),
        ('["x"]', "[]", r"words is \[\], expected 1 or more of them"),
        ('"oak"', '"sequoia"', "name is 'sequoia', expected a text of at most 5 characters"),
        ('{"rows": [1]}', "null", "leaves.a.b is None, expected an object"),
        ('{"a.b": {"rows": [1]}}', "[]", r"leaves is \[\], expected an object"),
        ("[1]", '["one"]', "leaves.a.b.rows.0 is 'one', expected a whole number"),
        (TREE, TREE[:40], "it is no JSON"),
    ],
)
def test_each_kind_of_fault_has_plain_words(old, new, sentence):
    assert old in TREE
    with pytest.raises(ValueError, match=f"^{sentence}") as caught:
        parse(Tree, TREE.replace(old, new, 1))
    assert len(str(caught.value)) < 200


def test_lines_are_read_one_by_one_and_the_first_bad_one_is_named(tmp_path):
    file = tmp_path / "trees.jsonl"
    trees = [parse(Tree, TREE), parse(Tree, TREE).changed(name="elm")]
    file.write_text("".join(tree.to_line() for tree in trees))
    assert parse_lines(Tree, file) == trees
    file.write_text(f"{TREE}\n{TREE.replace('null', 'true', 1)}\n{{")
    with pytest.raises(ValueError, match="in line 2 height is True, expected a number"):
        parse_lines(Tree, file)
    with pytest.raises(FileNotFoundError):
        parse_lines(Tree, tmp_path / "missing.jsonl")


@pytest.mark.parametrize(
    ("said", "found", "told"),
    [
        ('"version": 3, ', 3, "update flap-sam"),
        ('"version": 1, ', 1, "an older flap-sam wrote it"),
        ("", 1, "an older flap-sam wrote it"),
    ],
)
def test_another_version_is_told_before_any_other_fault(said, found, told):
    other = TREE.replace('"version": 2, ', said).replace('"good": true', '"better": 3')
    sentence = f"it is of version {found} of its format, this flap-sam reads version 2: {told}"
    with pytest.raises(VersionError, match=f"^{sentence}$") as caught:
        parse(Tree, other)
    assert caught.value.is_older == (found < 2)


@pytest.mark.parametrize("version", ["2.0", '"2"', "null", "true"])
def test_what_is_no_version_is_named(version):
    with pytest.raises(ValueError, match=r"^version is .*, expected 2$"):
        parse(Tree, TREE.replace("2", version, 1))
