"""JSON is taken as a dataclass or refused by name."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pytest
from flap_sam.foundation.typed import read, read_lines


@dataclass(frozen=True, kw_only=True)
class Leaf:
    share: float
    count: int

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("its count is below 0")


@dataclass(frozen=True, kw_only=True)
class Tree:
    name: str
    good: bool
    height: float | None
    leaves: dict[str, Leaf]
    dice: list[float | None]
    words: Sequence[str]
    settings: Mapping[str, object]


WHOLE = (
    '{"name": "oak", "good": true, "height": null, "leaves": {"a.b": {"share": 1, "count": 2}}, "dice": [0.5, null], '
    '"words": ["x"], "settings": {"y": [1, {}]}}'
)


def test_what_fits_is_taken_as_it_is():
    found = read(Tree, WHOLE)
    assert found.leaves == {"a.b": Leaf(share=1.0, count=2)}
    assert type(found.leaves["a.b"].share) is float
    assert asdict(found) == {
        "name": "oak",
        "good": True,
        "height": None,
        "leaves": {"a.b": {"share": 1, "count": 2}},
        "dice": [0.5, None],
        "words": ["x"],
        "settings": {"y": [1, {}]},
    }


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"oak"', "3", "name is 3, expected a text"),
        ("true", "1", "good is 1, expected true or false"),
        ("null,", '"high",', "height is 'high', expected a number"),
        ("null,", "NaN,", "height is nan, expected a number"),
        ("null,", "true,", "height is True, expected a number"),
        ("null,", "1" + "0" * 400 + ",", "expected a number"),
        (": 2", ": 1" + "0" * 400, "expected a whole number"),
        ("1,", "-1e101,", "leaves.a.b.share is -1e+101, expected a number"),
        ("1,", "-Infinity,", "leaves.a.b.share is -inf, expected a number"),
        (": 2", ": 2.0", "leaves.a.b.count is 2.0, expected a whole number"),
        (', "count": 2', "", "leaves.a.b.count is missing"),
        (', "count": 2', ', "count": 2, "size": 3', "leaves.a.b.size is unknown"),
        (": 2", ": -2", "its count is below 0"),
        ('{"a.b": {"share": 1, "count": 2}}', "[]", "leaves is [], expected an object"),
        ('{"share": 1, "count": 2}', "null", "leaves.a.b is None, expected an object"),
        ("[0.5, null]", "[0.5, {}]", "dice[1] is {}, expected a number"),
        ("[0.5, null]", "0.5", "dice is 0.5, expected a list"),
        ('["x"]', '"x"', "words is 'x', expected a list"),
        (WHOLE, "[]", "it is [], expected an object"),
        (WHOLE, WHOLE[:40], "it is no JSON from character 41 on"),
        (WHOLE, "", "it is no JSON from character 1 on"),
        (WHOLE, "[" * 100_000, "it is nested too deeply"),
    ],
)
def test_what_does_not_fit_is_named(old, new, sentence):
    assert old in WHOLE
    with pytest.raises(ValueError, match=r".") as caught:
        read(Tree, WHOLE.replace(old, new, 1))
    assert str(caught.value).endswith(sentence)
    assert len(str(caught.value)) < 200


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(ValueError, match="can't decode"):
        read(Tree, b"\xff\xff\xff")


def test_lines_are_read_one_by_one_and_the_first_bad_one_is_named(tmp_path):
    file = tmp_path / "trees.jsonl"
    file.write_text(f"{WHOLE}\n{WHOLE.replace('oak', 'elm')}\n")
    assert [tree.name for tree in read_lines(Tree, file)] == ["oak", "elm"]
    file.write_text(f"{WHOLE}\n{WHOLE.replace('null,', 'true,', 1)}\n{{")
    with pytest.raises(ValueError, match="in line 2 height is True, expected a number"):
        read_lines(Tree, file)
    with pytest.raises(FileNotFoundError):
        read_lines(Tree, tmp_path / "missing.jsonl")
