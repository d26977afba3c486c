# SPDX-License-Identifier: Apache-2.0
import ast
import re
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import flap_sam
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LISTED = {
    name: [
        Requirement(line.partition("#")[0].strip())
        for line in (ROOT / name).read_text().splitlines()
        if line.partition("#")[0].strip() and not line.startswith("-r")
    ]
    for name in ("requirements.txt", "requirements-onnx.txt", "requirements-dev.txt")
}


def plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@pytest.mark.parametrize("requirement", [r for listed in LISTED.values() for r in listed], ids=lambda r: r.name)
def test_every_requirement_has_a_floor_and_admits_what_is_installed(requirement):
    assert any(clause.operator in (">=", "==") for clause in requirement.specifier)
    assert requirement.specifier.contains(version(requirement.name))


@pytest.mark.parametrize(("name", "before"), [("torch", "2.9.1"), ("monai", "1.5.2"), ("pydicom", "3.0.1")])
def test_what_is_known_to_be_open_to_attack_is_not_admitted(name, before):
    specifier = next(r.specifier for r in LISTED["requirements.txt"] if r.name == name)
    assert not specifier.contains(Version(before))


def test_every_package_that_is_imported_is_listed():
    known, listed = packages_distributions(), {plain(r.name) for rs in LISTED.values() for r in rs}
    for file in Path(flap_sam.__file__).parent.rglob("*.py"):
        for name in _imported(ast.parse(file.read_text())) - sys.stdlib_module_names - {"flap_sam"}:
            assert listed & set(map(plain, known[name])), f"{file} imports {name}"


def _imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found
