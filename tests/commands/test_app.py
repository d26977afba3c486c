# SPDX-License-Identifier: Apache-2.0
"""The help, by its panels."""

import pytest
from flap_sam.commands import app
from flap_sam.commands.app import Changes
from typer.testing import CliRunner

from tests.commands.test_main import run


def test_help_names_the_commands_in_the_order_of_use(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "--help")
    assert code == 0
    panels = {app.PREPARE: "prepare", app.TRAIN: "simulate", app.DEPLOY: "kit", app.RESULTS: "results"}
    places = [out.index(words) for panel in panels for words in (f"─ {panel} ─", f"│ {panels[panel]} ")]
    assert places == sorted(places)
    assert " Commands " not in out, "every command has a panel"


def test_no_word_is_a_question_for_help():
    from flap_sam.commands.main import app as whole

    told = CliRunner().invoke(whole, [])
    assert "Hospitals fine-tune the Segment Anything Model together" in told.output
    assert "Traceback" not in told.output


@pytest.mark.parametrize("words", [[], ["a=1"], ["a=1", "b=x,y"]])
def test_changes_are_taken_as_often_as_they_are_named(words):
    import typer

    told, small = [], typer.Typer()

    @small.command()
    def change(changes: Changes = None) -> None:
        told.append(changes)

    done = CliRunner().invoke(small, [part for word in words for part in ("--set", word)])
    assert done.exit_code == 0
    assert (told[0] or []) == words
