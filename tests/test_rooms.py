# SPDX-License-Identifier: Apache-2.0
"""The rooms of the package: what each may touch. No module imports from a room above its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from flap_sam import errors

PACKAGE = Path(errors.__file__).parent
FLOORS = (  # from the top; a room imports from itself and from the floors below it
    {"commands", "__init__"},  # the command and the package's public face
    {"report", "deployment", "experiments", "export", "pretraining"},
    {"federation", "inference"},
    {"rounds", "gate"},
    {"training", "secure"},  # secure sums know no network and no gate; gate and server both drive them
    {"wire"},
    {"records"},
    {"sam", "data", "lowrank"},
    {"config"},
    {"foundation"},
    {"errors"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
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


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_its_own_room_and_from_the_floors_below(path):
    room = room_of(path)
    for library, *inside in imported(path):
        if library == "nvflare":
            assert room == "federation", "federation/ alone knows FLARE"
        if library == "flap_sam" and inside and inside[0] != room:
            if inside == ["__version__"]:
                continue
            assert inside[0] in FLOOR, f"{inside[0]} is a name of the face, which stands above {room}"
            assert FLOOR[inside[0]] > FLOOR[room], f"{'.'.join(inside)} is not below {room}"


def test_every_room_has_a_floor_and_a_sentence_of_its_own():
    assert {room_of(path) for path in MODULES} == set(FLOOR)
    for room in FLOOR:
        face = PACKAGE / room / "__init__.py"
        if face.exists():
            assert ast.get_docstring(ast.parse(face.read_text()))
