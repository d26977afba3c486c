# SPDX-License-Identifier: Apache-2.0
import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import flap_sam
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
CORE, SIMULATOR, DEVELOPMENT = "requirements-core.txt", "requirements.txt", "requirements-dev.txt"
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def listed(name: str) -> list[Requirement]:
    """The requirements of a file itself, without those of the files that it names."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("-r")]


LISTED = {name: listed(name) for name in (CORE, SIMULATOR, DEVELOPMENT)}
LISTED |= {extra: [*map(Requirement, lines)] for extra, lines in EXTRAS.items() if extra != "all"}


def plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@pytest.mark.parametrize("requirement", [r for listed in LISTED.values() for r in listed], ids=lambda r: r.name)
def test_every_requirement_has_a_floor_and_admits_what_is_installed(requirement):
    assert any(clause.operator in (">=", "==") for clause in requirement.specifier)
    assert requirement.specifier.contains(version(requirement.name))


@pytest.mark.parametrize(("name", "before"), [("torch", "2.9.1"), ("monai", "1.5.2"), ("pydicom", "3.0.1")])
def test_what_is_known_to_be_open_to_attack_is_not_admitted(name, before):
    found = [r.specifier for requirements in LISTED.values() for r in requirements if r.name == name]
    assert found
    assert not any(specifier.contains(Version(before)) for specifier in found)


def test_a_package_has_one_floor_wherever_it_is_listed():
    floors: dict[str, set[str]] = {}
    for requirements in LISTED.values():
        for requirement in requirements:
            floors.setdefault(plain(requirement.name), set()).add(str(requirement.specifier))
    assert {name: found for name, found in floors.items() if len(found) > 1} == {}


def test_the_simulator_needs_the_core_and_tensorboard():
    """`requirements.txt` is what `nvflare simulator jobs/flap_sam_kits` needs."""
    assert f"-r {CORE}" in (ROOT / SIMULATOR).read_text().splitlines()
    assert [*map(str, LISTED[SIMULATOR])] == [*map(str, LISTED["tensorboard"])]


def test_every_package_that_is_imported_is_listed():
    known, named = packages_distributions(), {plain(r.name) for rs in LISTED.values() for r in rs}
    for file in Path(flap_sam.__file__).parent.rglob("*.py"):
        for name in _imported(ast.parse(file.read_text())) - sys.stdlib_module_names - {"flap_sam"}:
            assert named & set(map(plain, known[name])), f"{file} imports {name}"


def _imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found
