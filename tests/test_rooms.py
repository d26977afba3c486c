"""The rooms of the package: what each may touch. No module imports from a room above its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from flap_sam import errors

PACKAGE = Path(errors.__file__).parent
FLOORS = (  # from the top; a room imports from itself and from the floors below it
    {"commands"},
    {"report", "deployment", "experiments", "export", "pretraining"},
    {"federation", "inference"},
    {"rounds", "gate"},
    {"training"},
    {"wire"},
    {"records"},
    {"sam", "data", "lowrank"},
    {"config"},
    {"foundation"},
    {"errors", "__init__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ALLOWED_BESIDE = {("pretraining", "sam"), ("commands", "pretraining")}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """The dotted names that a module imports, each as its parts."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from ((*node.module.split("."), alias.name) for alias in node.names)
