"""JSON as dataclasses: all its fields are there and of their types, or one sentence names the first that is not."""

import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
LARGEST = 1e100  # numbers beyond are damage; their squares would be infinite

T = TypeVar("T")


def read(kind: type[T], text: str | bytes) -> T:
    """The dataclass that JSON holds.

    Its fields are plain, literals, `... | None`, sequences, mappings by text, or dataclasses.

    Raises:
        ValueError: it is no JSON; or a field is missing, unknown or of another type: which, what was found, what was
            expected; or the dataclass refuses it.
    """
    try:
        return _value("", kind, json.loads(text))
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON from character {error.pos + 1} on") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_lines(kind: type[T], file: Path) -> list[T]:
    """The dataclasses that a file holds, a line of JSON each; see `read`.

    Raises:
        OSError: the file is missing.
        ValueError: as of `read`; names the line.
    """
    return [_line(kind, number, line) for number, line in enumerate(file.read_bytes().splitlines(), 1)]


def _line(kind: type[T], number: int, line: bytes) -> T:
    try:
        return read(kind, line)
    except ValueError as error:
        raise ValueError(f"in line {number} {error}") from error


def _value(path: str, kind: Any, found: object) -> Any:
    if isinstance(kind, UnionType):
        return None if found is None else _value(path, get_args(kind)[0], found)
    holder, parts = get_origin(kind) or kind, get_args(kind)
    if holder is Literal:
        return _checked(path, found, found in parts, f"one of {', '.join(map(repr, parts))}")
    if holder is object:
        return found
    if holder in PLAIN:
        return holder(_checked(path, found, _is_plain(holder, found), PLAIN[holder]))
    if issubclass(holder, Sequence):
        items = _checked(path, found, isinstance(found, list), "a list")
        return [_value(f"{path}[{k}]", parts[0], item) for k, item in enumerate(items)]
    entries = _checked(path, found, isinstance(found, dict), "an object")
    if is_dataclass(holder):
        return _record(path, holder, entries)
    return {name: _value(f"{path}.{name}", parts[1], entry) for name, entry in entries.items()}


def _record(path: str, kind: type, entries: Mapping[str, object]) -> Any:
    known = {field.name: field.type for field in fields(kind)}
    for name in [*known, *entries]:
        if (name in known) != (name in entries):
            raise ValueError(f"{_named(f'{path}.{name}')} is {'missing' if name in known else 'unknown'}")
    return kind(**{name: _value(f"{path}.{name}", known[name], entry) for name, entry in entries.items()})


def _is_plain(kind: type, found: object) -> bool:
    if kind in (int, float):
        return type(found) in (int, kind) and abs(found) <= LARGEST  # not of NaN
    return type(found) is kind


def _checked(path: str, found: T, good: bool, expected: str) -> T:
    if not good:
        raise ValueError(f"{_named(path)} is {reprlib.repr(found)}, expected {expected}")
    return found


def _named(path: str) -> str:
    return path.removeprefix(".") or "it"
