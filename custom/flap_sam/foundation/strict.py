# SPDX-License-Identifier: Apache-2.0
"""Models of what is read from JSON: every field is known, there, and of its type, or one sentence names what is not.

What outlives the flap-sam that wrote it says in a field `version` of which version of its format it is, a whole number.
What has none is of version 1: flap-sam 0.1 wrote none. Another version than the model's own is refused, naming both.
"""

import json
import reprlib
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

VERSION = "version"
NAMED_BY_PYDANTIC = ("Input should be ", "Value error, ", "String should ")
EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "string_too_long": "a text of at most {max_length} characters",
    "too_short": "{min_length} or more of them",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "mapping_type": "an object",
    "model_type": "an object",
}
"""What a field should be, by pydantic's type of error."""
UNKNOWN = ("extra_forbidden", "invalid_key")
LARGEST = 1e100  # numbers beyond are damage; their squares would be infinite

Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class StrictModel(BaseModel):
    """A model that converts nothing: it refuses unknown fields, values of other types and NaN, and is never changed."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> str:
        """The model as JSON, a field a line."""
        return self.model_dump_json(indent=1) + "\n"

    def to_line(self) -> str:
        """The model as a line of JSON."""
        return json.dumps(self.model_dump(mode="json")) + "\n"

    def changed(self, **fields: object) -> Self:
        """The model with some fields changed, checked anew; raises ValueError where it may not be so."""
        return checked(type(self), dict(self) | fields)


T = TypeVar("T", bound=StrictModel)


class VersionError(ValueError):
    """Something was written in another version of its format than is read here."""

    def __init__(self, found: int, known: int) -> None:
        self.found, self.known = found, known
        lack = "an older flap-sam wrote it" if self.is_older else "update flap-sam"
        super().__init__(f"it is of version {found} of its format, this flap-sam reads version {known}: {lack}")

    @property
    def is_older(self) -> bool:
        return self.found < self.known


def parse(kind: type[T], text: str | bytes) -> T:
    """The model that JSON holds.

    Raises:
        VersionError: it is of another version than the model.
        ValueError: it is no JSON, names a field twice, or a field is missing, unknown, of another type or outside its
            limits: which, what was found, what was expected.
    """
    found = loads(text)
    if VERSION in kind.model_fields:
        check_version(found, kind.model_fields[VERSION].default)
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(sentence(error)) from error


def parse_lines(kind: type[T], file: Path) -> list[T]:
    """The models that a file holds, a line of JSON each.

    Raises:
        OSError: the file is missing.
        ValueError: as `parse`; names the line.
    """
    return [_line(kind, number, line) for number, line in enumerate(file.read_bytes().splitlines(), 1)]


def checked(kind: type[T], found: object, context: object = None) -> T:
    """The model of values as Python has them, a tuple a tuple; raises ValueError as `parse`.

    Args:
        context: what the model's own checks ask for.
    """
    try:
        return kind.model_validate(found, context=context)
    except ValidationError as error:
        raise ValueError(sentence(error)) from error


def check_version(found: object, known: int) -> None:
    """Raise a VersionError where an object is of another version, a ValueError where it says no version."""
    version = found.get(VERSION, 1) if isinstance(found, dict) else known
    if type(version) is not int:
        raise ValueError(f"{VERSION} is {reprlib.repr(version)}, expected {known}")
    if version != known:
        raise VersionError(version, known)


def loads(text: str | bytes) -> Any:
    """What JSON holds; raises ValueError where it is none, or names a field twice."""
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no JSON ({error})") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def sentence(error: ValidationError) -> str:
    """What is wrong with the first field that is wrong."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"])) or "it"
    if first["type"] == "missing":
        return f"{field} is missing"
    if first["type"] in UNKNOWN:
        return f"{field} is unknown"
    return f"{field} is {reprlib.repr(first['input'])}, expected {_expected(first)}"


def _expected(fault: ErrorDetails) -> str:
    if ours := EXPECTED.get(fault["type"]):
        return ours.format(**fault.get("ctx", {}))
    expected = fault["msg"]
    for words in NAMED_BY_PYDANTIC:
        expected = expected.removeprefix(words)
    return expected


def _line(kind: type[T], number: int, line: bytes) -> T:
    try:
        return parse(kind, line)
    except ValueError as error:
        raise ValueError(f"in line {number} {error}") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice} stands in it twice")
    return found
