# SPDX-License-Identifier: Apache-2.0
"""A comparison whose tables and page are drawn anew after every cell."""

from types import SimpleNamespace

import pytest
from flap_sam.commands import comparison as module
from flap_sam.commands.comparison import published
from flap_sam.errors import FlapSamError
from flap_sam.experiments.plan import Grid, Plan
from flap_sam.records.cell import read_lines
from flap_sam.records.run_record import FEDERATED

from tests.report.cells import row

PLAN = Plan([Grid([FEDERATED], {})], seeds=[1, 2])


@pytest.fixture
def made(monkeypatch):
    """What a comparison is made of; nothing is run."""
    asked = []

    class Comparison:
        cells = dict.fromkeys(range(4), SimpleNamespace(changes={}, setting=FEDERATED))

        def __init__(self, *words):
            asked.append(words)

    monkeypatch.setattr(module, "Comparison", Comparison)
    return asked


@pytest.mark.parametrize("name", ["page", "page.html", "page.md.txt", "page.jsonl"])
def test_a_page_of_another_ending_is_refused_before_anything_is_done(tmp_path, made, name):
    with pytest.raises(FlapSamError, match=rf"The page .*{name} would be Markdown; let its name end with \.md\."):
        published(None, tmp_path / "out", PLAN, tmp_path / name)
    assert made == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("with_page", [True, False])
def test_after_a_cell_the_folder_has_its_table_and_the_page_all_that_was_asked_for(tmp_path, made, with_page):
    out, page = tmp_path / "out", tmp_path / "page.md" if with_page else None
    out.mkdir()
    published(None, out, PLAN, page)
    ((_, _, _, cells, publish),) = made
    assert cells == (tmp_path / "page.jsonl" if with_page else None)
    own, elsewhere = row(0.5, 0.6)
    publish([own], [own, elsewhere])
    assert read_lines(out / "cells.jsonl") == [own]
    assert "0.510" in (out / "table.md").read_text()
    if with_page:
        assert read_lines(tmp_path / "page.jsonl") == [own, elsewhere]
        assert "Finished cells: 2 of 4." in page.read_text()
    else:
        assert not list(tmp_path.glob("page*"))


def test_before_the_first_cell_there_is_no_page(tmp_path, made):
    (tmp_path / "out").mkdir()
    published(None, tmp_path / "out", PLAN, tmp_path / "page.md")
    made[0][-1]([], [])
    assert (tmp_path / "out" / "table.md").is_file()
    assert not list(tmp_path.glob("page*"))
