# SPDX-License-Identifier: Apache-2.0
"""The tests mirror the package: what holds a module lies where its name says, and nothing lies beside it unnamed.

`custom/flap_sam/ROOM/x.py`, or a package `ROOM/x/`, is tested by `tests/ROOM/test_x.py` or by the files of a folder
`tests/ROOM/x/`.
"""

from pathlib import Path

import flap_sam
import pytest

PACKAGE, TESTS = Path(flap_sam.__file__).parent, Path(__file__).parent

WITHOUT = {  # a module that needs no test of its own, and why
    "commands/options.py": "declares options alone, which docs/reference shows and tests/test_documents.py compares",
    "federation/door/allowed.py": "declares what passes; test_rules.py beside it holds a second list, written by hand",
    "rounds/sites.py": "an interface, which in_process.py and federation/controller.py implement",
    "secure/held.py": "declares what a site holds in memory; test_site.py says when it is erased",
}
BESIDE = {  # a file or folder of tests that mirrors no module, and what it holds
    "deployment/test_attacks.py": "hostile members, jobs and servers against running kits",
    "deployment/test_door.py": "every attack on a running hospital's door",
    "deployment/test_gpus.py": "two jobs on running kits, one of which has a GPU",
    "deployment/test_outages.py": "kits that are unplugged and killed",
    "deployment/test_submission.py": "a job submitted to kits gives what the simulator gives",
    "integration": "whole commands and jobs in FLARE",
    "records/test_versions.py": "every reader of records refuses another version",
    "rounds/test_rounds.py": "every strategy, rule and type over whole rounds of sites and aggregator",
    "secure/test_attacks.py": "whole attacks of a server that does not keep to the protocol",
    "secure/test_secrecy.py": "what a server sees that conspires with a site, by chi-square",
}


def modules() -> list[Path]:
    """The modules of the package but for the faces of its rooms, from `flap_sam/`."""
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def places(module: Path) -> list[Path]:
    """Where a module's tests may lie, from `tests/`."""
    return [module.with_name(f"test_{module.name}"), module.with_suffix("")]


def is_tested(module: Path) -> bool:
    file, folder = (TESTS / place for place in places(module))
    return file.is_file() or any(folder.glob("test_*.py"))


def files_in_rooms() -> list[Path]:
    """The test files below a folder of `tests/`; those in `tests/` itself test the project as a whole."""
    return sorted(path.relative_to(TESTS) for path in TESTS.rglob("test_*.py") if path.parent != TESTS)


def is_mirrored(test: Path) -> bool:
    """Whether a test file stands for a module or a package, or lies in a folder that does."""
    module = test.with_name(test.name.removeprefix("test_"))
    own = (module, module.with_suffix("") / "__init__.py", test.parent.with_suffix(".py"))
    return any((PACKAGE / path).is_file() for path in own)


def is_beside(test: Path) -> bool:
    return any(str(path) in BESIDE for path in (test, *test.parents))


@pytest.mark.parametrize("module", modules(), ids=str)
def test_a_module_has_tests_at_its_mirrored_place_or_a_reason_why_not(module):
    if str(module) in WITHOUT:
        assert not is_tested(module), f"{module} is tested now: take it off WITHOUT"
    else:
        assert is_tested(module), f"{module} needs {' or '.join(map(str, places(module)))} in tests/"


@pytest.mark.parametrize("test", files_in_rooms(), ids=str)
def test_a_file_of_tests_mirrors_a_module_or_is_named(test):
    found, named = is_mirrored(test), is_beside(test)
    assert found or named, f"{test} mirrors no module: move it beside the one it tests, or name it in BESIDE"
    assert not (found and named), f"{test} mirrors a module: take it off BESIDE"


def test_no_list_names_what_is_not_there():
    assert set(WITHOUT) <= set(map(str, modules()))
    assert all((TESTS / name).exists() for name in BESIDE)


def test_a_missing_test_and_a_stray_one_are_noticed():
    assert places(Path("errors.py")) == [Path("test_errors.py"), Path("errors")]
    assert not is_tested(Path("lowrank/nothing_of_the_kind.py"))
    assert not is_mirrored(Path("lowrank/test_nothing_of_the_kind.py"))
    assert is_mirrored(Path("sam/test_pretrained.py")), "a package within a room"
    assert is_mirrored(Path("data/prepare/test_faults.py")), "a folder of a module's tests"
