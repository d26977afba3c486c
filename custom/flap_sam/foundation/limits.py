# SPDX-License-Identifier: Apache-2.0
"""What a field of a model may be beyond its type: declared at the field, told in words from there."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MultipleOf
from pydantic import GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

NULL = "null"
TYPES: dict[object, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


@dataclass(frozen=True)
class Check:
    """A check at a field, by a function that says whether a value passes, and what passes it, in words.

    The words may be a function's, where what passes depends on what is installed.
    """

    passes: Callable[[Any], bool]
    expected: str | Callable[[], str]

    @property
    def words(self) -> str:
        return self.expected if isinstance(self.expected, str) else self.expected()

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, found: object) -> object:
        if not self.passes(found):
            raise ValueError(self.words)
        return found


def limits(field: FieldInfo) -> str:
    """What a field may be, as "1 to 64", "one of lora, dora" or "above 0, or null"; "" where its type says it all."""
    return _limits(field.annotation, field.metadata)


def _limits(kind: object, marks: Iterable[object]) -> str:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _limits(inside[0], [*_flat(inside[1:]), *marks])
    if origin in (Union, UnionType):
        known = [_limits(part, marks) for part in inside if part is not NoneType]
        return ", or ".join([part for part in known if part] + [NULL] * (NoneType in inside and any(known)))
    if origin is Literal:
        return "one of " + ", ".join(map(str, inside))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"each value {', '.join(filter(None, (TYPES[_bare(inside[1])], _limits(inside[1], marks))))}"
    return ", ".join(_words(list(marks)))


def _bare(kind: object) -> object:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _flat(marks: Iterable[object]) -> Iterable[object]:
    for mark in marks:
        yield from mark.metadata if isinstance(mark, FieldInfo) else (mark,)


def _words(marks: list[object]) -> Iterable[str]:
    found: dict[type, Any] = {type(mark): mark for mark in marks}
    if MultipleOf in found:
        yield f"a multiple of {found[MultipleOf].multiple_of}"
    if Ge in found and Le in found:
        yield f"{_figure(found[Ge].ge)} to {_figure(found[Le].le)}"
    elif Ge in found:
        yield f"{_figure(found[Ge].ge)} or more"
    elif Gt in found:
        yield f"above {_figure(found[Gt].gt)}"
        if Le in found:
            yield f"up to {_figure(found[Le].le)}"
    if Check in found:
        yield found[Check].words


def _figure(number: float) -> str:
    return str(int(number) if number == int(number) else number)
