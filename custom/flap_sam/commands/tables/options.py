# SPDX-License-Identifier: Apache-2.0
"""Every setting of a job and of a site, from the classes that read them: `docs/reference/options.md`."""

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from flap_sam.config.experiment import Experiment
from flap_sam.config.reads import READ_WITH
from flap_sam.config.run_policy import RunPolicy
from flap_sam.config.site import ENVIRONMENT, Site
from flap_sam.foundation.limits import limits
from flap_sam.foundation.text import markdown_table

TYPES: dict[object, str] = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}
COLUMNS = ("setting", "type", "default", "allowed", "meaning")
HEAD = """# Settings

Made from the code by `make docs`; `flap-sam options` prints it. Change the classes, not this page.
"""


@dataclass(frozen=True)
class OptionGroup:
    """Settings that belong together: the model that reads them, and where one writes them."""

    kind: type[BaseModel]
    title: str
    place: str


GROUPS = (
    OptionGroup(
        Experiment,
        "What is trained: `experiment`",
        "The job decides it, in `app/config/config_fed_server.json`; no site and no server can change it on the way. "
        "A setting that is left out takes its default, that of the paper's section 3.2. `--set name=value` changes "
        "one for a run.",
    ),
    OptionGroup(
        RunPolicy,
        "How a run is conducted: `run_policy`",
        "Beside `experiment` in the same file of the job.",
    ),
    OptionGroup(
        Site,
        "Where things lie at a site: `flap_site.json`",
        "The site decides it; no job and no server can set it. The environment goes first, then `flap_site.json` in "
        "the site's FLARE folder `local/`, where paths begin at the root (`/data/store`).",
    ),
)


@dataclass(frozen=True)
class Setting:
    """A field of a dataclass or a model."""

    name: str
    kind: object
    default: object


def markdown() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_section(group) for group in GROUPS)])


def meanings(kind: type) -> dict[str, str]:
    """The `Args` of a class's docstring, by name."""
    text = (inspect.getdoc(kind) or "").partition("Args:\n")[2].partition("\n\n")[0]
    clauses = re.split(r"^    (\w+): ", text, flags=re.MULTILINE)[1:]
    return {name: " ".join(clause.split()) for name, clause in zip(clauses[::2], clauses[1::2], strict=True)}


def settings_of(kind: type[Any]) -> list[Setting]:
    """The fields of a dataclass or a model, in their order."""
    if issubclass(kind, BaseModel):
        return [
            Setting(name, field.annotation, field.get_default(call_default_factory=True))
            for name, field in kind.model_fields.items()
        ]
    return [
        Setting(f.name, f.type, f.default if f.default_factory is MISSING else f.default_factory())
        for f in fields(kind)
    ]


def _section(group: OptionGroup) -> str:
    head = [f"## {group.title}", "", group.place, ""]
    return "\n".join([*head, markdown_table(COLUMNS, _rows(group))])


def _rows(group: OptionGroup) -> Iterator[list[str]]:
    meaning = meanings(group.kind)
    for setting in settings_of(group.kind):
        name = setting.name
        variable = ENVIRONMENT.get(name) if group.kind is Site else None
        yield [
            f"`{name}`" + (f", `{variable}`" if variable else ""),
            _type(setting.kind),
            f"`{json.dumps(setting.default)}`",
            limits(group.kind.model_fields[name]).removeprefix("one of "),
            meaning[name].replace("None", "null") + (_read_with(name) if group.kind is Experiment else ""),
        ]


def _type(annotation: object) -> str:
    if get_origin(annotation) is Annotated:
        return _type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return f"{_type(get_args(annotation)[0])}, or null"
    if get_origin(annotation) is Literal:
        return TYPES[type(get_args(annotation)[0])]
    if get_origin(annotation) is not None:
        return f"{_type(get_args(annotation)[1])} by name"
    return TYPES[annotation]


def _read_with(name: str) -> str:
    """With which choices a setting of an experiment is read."""
    needs = (f"`{other}` {', '.join(values)}" for other, values in READ_WITH[name].items())
    return "".join(f" Read with {need}." for need in needs)
