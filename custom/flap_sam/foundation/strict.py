"""Models of what is read from JSON: every field is known, there, and of its type, or one sentence names what is not."""

import json
import reprlib
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

NAMED_BY_PYDANTIC = ("Input should be ", "Value error, ", "String should ")


class StrictModel(BaseModel):
    """A model that takes nothing for something else: no unknown field, no text for a number, no NaN, no change."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> str:
        """The model as JSON, a field a line."""
        return self.model_dump_json(indent=1) + "\n"

    def changed(self, **fields: object) -> Self:
        """The model with some fields changed, checked anew; raises ValueError where it may not be so."""
        return checked(type(self), dict(self) | fields)


T = TypeVar("T", bound=StrictModel)


def parse(kind: type[T], text: str | bytes) -> T:
    """The model that JSON holds.

    Raises:
        ValueError: it is no JSON, names a field twice, or a field is missing, unknown, of another type or outside its
            limits: which, what was found, what was expected.
    """
    loads(text)
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(_sentence(error)) from error


def checked(kind: type[T], found: object) -> T:
    """The model of values as Python has them, a tuple a tuple; raises ValueError as `parse`."""
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise ValueError(_sentence(error)) from error


def loads(text: str | bytes) -> Any:
    """What JSON holds; raises ValueError where it is none, or names a field twice."""
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no JSON ({error})") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice} stands in it twice")
    return found


def _sentence(error: ValidationError) -> str:
    """What is wrong with the first field that is wrong."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"])) or "it"
    if first["type"] == "missing":
        return f"{field} is missing"
    if first["type"] == "extra_forbidden":
        return f"{field} is unknown"
    expected = first["msg"]
    for words in NAMED_BY_PYDANTIC:
        expected = expected.removeprefix(words)
    return f"{field} is {reprlib.repr(first['input'])}, expected {expected}"
