# SPDX-License-Identifier: Apache-2.0
"""Tables of a model's fields: names, types and meanings, from its annotations and its docstring."""

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

from flap_sam.commands.tables.options import settings_of
from flap_sam.foundation.text import markdown_table

PLAIN = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "true or false",
    object: "any value",
    dict: "object",
    Path: "path",
}


def section(title: str, kind: type, level: str = "##") -> list[str]:
    about = inspect.getdoc(kind).partition("\n\nArgs:")[0].replace("\n", " ")
    return [f"{level} {title}", "", about, "", table(kind)]


def table(kind: type) -> str:
    hints = get_type_hints(kind)
    names = [setting.name for setting in settings_of(kind)]
    said = meanings(kind, names)
    rows = [[f"`{name}`", words(hints[name]), one_line(said.get(name, ""))] for name in names]
    return markdown_table(("field", "type", "meaning"), rows)


def meanings(kind: type, names: Sequence[str]) -> Mapping[str, str]:
    """What the `Args` of a class and of its bases say of its fields; a clause may speak of several at once."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = inspect.cleandoc(base.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
        text = "; ".join(
            " ".join(part.split()).rstrip(".") for part in re.split(r"^ {4}(?=\w)", text, flags=re.M) if part
        )
        parts = re.split(r"(?:^|; )((?:\w+, )*\w+): ", text)[1:]
        for said, meaning in zip(parts[::2], parts[1::2], strict=True):
            if set(said.split(", ")) <= set(names):
                found |= dict.fromkeys(said.split(", "), meaning.replace("None", "null"))
    return found


def words(kind: object) -> str:
    """A type in words."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return words(inside[0])
    if origin in (Union, UnionType):
        known = [words(part) for part in inside if part is not NoneType]
        return ", ".join(known) + (", or null" if NoneType in inside else "")
    if origin is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in inside)
    if origin is not None and issubclass(origin, Mapping):
        return f"{words(inside[1])}, by name"
    if origin is not None and issubclass(origin, Sequence):
        return f"list of ({words(inside[0])})"
    return PLAIN.get(kind) or (f"`{kind.__name__}`" if inspect.isclass(kind) else str(kind))


def one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
