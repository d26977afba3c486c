# SPDX-License-Identifier: Apache-2.0
"""The names that `import flap_sam` gives: all there, those of their rooms, and none imported before it is asked for."""

import ast
import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import flap_sam
import pytest

FACE = Path(flap_sam.__file__)


def test_every_name_is_the_one_of_its_room_and_says_what_it_is():
    assert sorted(flap_sam.__all__) == sorted(flap_sam.PLACES)
    assert set(flap_sam.__all__) <= set(dir(flap_sam))
    for name, place in flap_sam.PLACES.items():
        found = getattr(flap_sam, name)
        assert found is getattr(import_module(f"flap_sam.{place}"), name)
        assert inspect.getdoc(found)
        assert f"    {name} " in flap_sam.__doc__


def test_a_type_checker_sees_the_same_names_at_the_same_places():
    block = next(node for node in ast.parse(FACE.read_text()).body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"flap_sam.{place}" for name, place in flap_sam.PLACES.items()}


def test_every_parameter_of_a_function_has_a_type_and_what_it_gives_too():
    for name in flap_sam.__all__:
        found = getattr(flap_sam, name)
        if inspect.isfunction(found):
            signature = inspect.signature(found)
            assert signature.return_annotation is not inspect.Signature.empty, name
            assert all(p.annotation is not p.empty for p in signature.parameters.values()), name


@pytest.mark.parametrize("name", ["simulat", "annotate", "errors_"])
def test_another_name_is_none_of_the_package(name):
    with pytest.raises(AttributeError, match=f"'flap_sam' has no attribute '{name}'"):
        getattr(flap_sam, name)


def loaded_by(code: str) -> set[str]:
    """The modules that a new process has loaded beyond those of a bare one."""
    script = f"import sys, json, importlib; before = set(sys.modules); {code}; "
    script += "print(json.dumps(sorted(set(sys.modules) - before)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


def test_the_package_itself_imports_nothing_but_the_standard_library():
    modules = {name.partition(".")[0] for name in loaded_by("import flap_sam; dir(flap_sam)")}
    assert modules - sys.stdlib_module_names == {"flap_sam"}


@pytest.mark.parametrize("name", ["Experiment", "RunPolicy", "Site"])
def test_what_is_only_said_needs_no_torch_and_no_flare(name):
    modules = loaded_by(f"import flap_sam; flap_sam.{name}")
    assert not {"torch", "nvflare", "monai", "nibabel"} & modules
