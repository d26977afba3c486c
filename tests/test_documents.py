# SPDX-License-Identifier: Apache-2.0
"""What the documents say is true: their links, the commands in them, and the pages that are made from the code."""

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from flap_sam.commands.main import app
from flap_sam.config.experiment import Experiment
from flap_sam.config.site import Site

from tests.test_rooms import FLOORS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CARD = ROOT / "custom" / "flap_sam" / "sam" / "pretrained" / "README.md"
GUIDES = sorted({*ROOT.glob("*.md"), *ROOT.glob("provisioning/*.md"), *DOCS.rglob("*.md"), CARD})
PAGES = ("commands", "options", "gate", "files", "messages", "python")
PLACEHOLDERS = {"COMMAND", "..."}

every_guide = pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))


@pytest.fixture(scope="module")
def script() -> Iterator[Callable]:
    """Imports one of `docs/scripts`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "scripts"))
        yield import_module
        for name in ("reference", "fields", "picture"):
            sys.modules.pop(name, None)


def leaves(command: object, name: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every command by its full name, with its options."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name.strip(), {option for parameter in command.params for option in parameter.opts} | {"--help"}
        return
    for word, found in inner.items():
        yield from leaves(found, f"{name} {word}")


COMMANDS = dict(leaves(typer.main.get_command(app)))
GROUPS = {name.partition(" ")[0] for name in COMMANDS if " " in name}


def code(text: str) -> Iterator[str]:
    """The lines of code of a page: of its fenced blocks, continued lines as one, and what stands between backticks."""
    prose = []
    for number, part in enumerate(re.split(r"^ *```.*$", text, flags=re.MULTILINE)):
        if number % 2:
            yield from re.sub(r"\\\n\s*", "", part).splitlines()
        else:
            prose.append(part)
    for part in prose:
        yield from (" ".join(found.split()) for found in re.findall(r"`([^`]+)`", part))


def calls(text: str) -> Iterator[list[str]]:
    """The words that follow each call of `flap-sam`; a user and folders are called so too, which no command follows."""
    for line in code(text):
        words = shlex.split(line, comments=True) if "flap-sam" in line else []
        for start, (word, following) in enumerate(pairwise(words), start=1):
            if re.fullmatch(r"([^=]*/)?flap-sam", word) and re.match(r"[a-zA-Z.]|--help", following):
                end = next((n for n in range(start, len(words)) if words[n] in {"|", "&&", ">", ";"}), len(words))
                yield words[start:end]


def command_of(words: list[str]) -> str:
    return " ".join(words[: 2 if words[0] in GROUPS and len(words) > 1 else 1])


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_contributing_has_the_floors_of_the_rooms():
    rows = re.findall(r"^\| (\d*) ?\| `(\w+)(?:/|\.py)` \|", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    floors: dict[str, set[str]] = {}
    for floor, room in rows:
        floors.setdefault(floor or next(reversed(floors)), set()).add(room)
    assert [*floors] == [str(number) for number in reversed(range(len(FLOORS)))]
    assert [*floors.values()] == [rooms - {"__init__"} for rooms in FLOORS]


@every_guide
def test_every_link_points_to_something(guide):
    for target in re.findall(r"\]\(([^)\s]+)\)", guide.read_text()):
        if not target.startswith(("http://", "https://", "#")):
            assert (guide.parent / target.partition("#")[0]).exists(), f"{guide} links to {target}"


@every_guide
def test_every_command_and_option_exists(guide):
    for words in calls(guide.read_text()):
        name = command_of(words)
        if words[0] in PLACEHOLDERS or name in GROUPS or words == ["--help"]:
            continue
        assert name in COMMANDS, f"{guide} calls flap-sam {' '.join(words)}"
        options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert options <= COMMANDS[name], f"{guide} calls flap-sam {' '.join(words)}"


@every_guide
def test_every_setting_that_a_command_changes_is_one(guide):
    for words in calls(guide.read_text()):
        settings = Site.model_fields if words[0] == "kit" else Experiment.model_fields
        for option, change in pairwise(words):
            if option in ("--set", "--vary") and "=" in change:
                assert change.partition("=")[0] in settings, f"{guide} sets {change}"


@every_guide
def test_every_target_and_script_exists(guide):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for line in code(guide.read_text()):
        if found := re.match(r"make ([\w-]+)", line):
            assert found[1] in targets, f"{guide} says {line}"
        for path in re.findall(r"\bbenchmarks/\w+\.py|\btests/[\w/]+\.py", line):
            assert (ROOT / path).exists(), f"{guide} names {path}"


def test_every_command_stands_in_a_guide():
    guides = [guide for guide in GUIDES if guide.parent.name != "reference"]
    named = {command_of(words) for guide in guides for words in calls(guide.read_text())}
    assert COMMANDS.keys() <= named


def test_every_test_that_the_threat_model_names_exists():
    page = (DOCS / "howto" / "security" / "threat-model.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:: (\w+))?`((?:, `\w+`)*)", page)
    assert len(named) > 10
    for path, first, more in named:
        functions = re.findall(r"^def (test_\w+)", (ROOT / path).read_text(), flags=re.MULTILINE)
        for part in filter(None, [first, *re.findall(r"\w+", more)]):
            assert any(part in function for function in functions), f"{path} has no test of {part}"


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_is_what_the_code_gives(script, name):
    page = script("reference").pages()[f"{name}.md"]()
    assert (DOCS / "reference" / f"{name}.md").read_text() == page, "run `make docs`"


def test_every_reference_page_is_made_from_the_code(script):
    made = set(script("reference").pages())
    assert made == {f"{name}.md" for name in PAGES}
    assert made == {path.name for path in (DOCS / "reference").iterdir()}


def test_the_picture_is_what_its_script_draws(script):
    picture = script("picture")
    assert picture.FILE.read_text() == picture.picture(), "run `make docs`"
