# SPDX-License-Identifier: Apache-2.0
import random
import re
from xml.etree import ElementTree

import pytest
from flap_sam.records.cell import read_lines
from flap_sam.records.run_record import CENTRALIZED, LOCAL
from flap_sam.report import comparison_page
from flap_sam.report.summary import DEMO

from tests.report.cells import row

CELLS = [
    *row(0.50, 0.52, 0.57),
    *row(0.30, 0.31, 0.33, setting=LOCAL),
    *row(0.51, 0.52, 0.54, setting=CENTRALIZED),
    *row(0.45, 0.44, 0.46, method="fullft"),
    *row(0.50, 0.50, 0.52, method="loradecft"),
    *row(0.49, 0.50, 0.50, rank=4, up=0.4),
    *row(0.50, 0.51, 0.52, rank=16, up=1.1),
    *row(0.50, 0.50, 0.56, adapter="dora", up=2.1),
    *row(0.52, 0.52, 0.52, method="masam"),
]


@pytest.fixture
def written(tmp_path):
    def write(cells=CELLS, name="page.md"):
        comparison_page.write(tmp_path / name, cells, (1, 2, 3), planned=40)
        return tmp_path / name

    return write


def section(path, title: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    text = path.read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[:1] + lines[2:]]


def test_the_page_has_the_papers_tables(written):
    path = written()
    names = [line[:2] for line in section(path, "Methods")[1:]]
    assert names == [
        ["fullft", "federated"],
        ["loradecft", "federated"],
        ["flap_sam", "local"],
        ["flap_sam", "federated"],
        ["flap_sam", "centralized"],
        ["masam", "federated"],
    ]
    assert [line[0] for line in section(path, "Ranks")[1:]] == ["flap_sam", "flap_sam, rank 4", "flap_sam, rank 16"]
    assert [line[0] for line in section(path, "Adapters")[1:]] == ["flap_sam", "flap_sam, dora"]
    assert "Where a row names no rank, it is 32." in path.read_text()
    assert "Where a row names no adapter, it is lora." in path.read_text()
    traffic = {line[0]: line[1:] for line in section(path, "Dice against traffic")[1:]}
    assert traffic["flap_sam"] == ["0.540 ± 0.036", "0.217 ± 0.021", "2.00", "1.80", "20.0"]
    assert traffic["masam"][1:] == ["-", "12.00", "10.80", "3.3"], "no local run, no gain"
    assert ["flap_sam", "6.0", "3.0", "3.0", "12.0"] in section(path, "Machine time")


def test_the_page_says_what_was_run_and_how_far_it_is(written):
    text = written().read_text()
    for told in (
        f"Finished cells: {len(CELLS)} of 40.",
        "job: `job`, dataset kits19",
        "data: made (training slices: A 10, B 30; manifests abababab)",
        "vit_tiny at 32 pixels, 2 classes, from a SAM checkpoint",
        "rounds: 3; seeds: 1, 2, 3",
        "machine time: 0.5 hours",
        "torch 2",
    ):
        assert told in text
    assert DEMO not in text


def test_drawn_volumes_are_announced(written):
    drawn = [cell.changed(run=cell.run.changed(demo=True, weights="random")) for cell in CELLS]
    text = written(drawn).read_text()
    assert DEMO in text
    assert "from random weights" in text


def test_verdicts_go_by_the_cells(written):
    def answers(path):
        return {line[0]: line[1] for line in section(path, "What reproduces")[1:]}

    claim = "federated flap_sam beats local flap_sam"
    found = answers(written())
    assert found[claim] == "**yes**"
    assert found["federated flap_sam beats federated pdecft"] == "**not decided**"
    swapped = [cell.changed(dice={site: 1 - dice for site, dice in cell.dice.items()}) for cell in CELLS]
    assert answers(written(swapped))[claim] == "**no**"


def test_the_same_cells_give_the_same_bytes(written):
    one, other = written(), written(name="other.md")
    assert one.read_text() == other.read_text().replace("other.svg", "page.svg")
    for suffix in (".svg", ".jsonl"):
        assert one.with_suffix(suffix).read_bytes() == other.with_suffix(suffix).read_bytes()
    shuffled = random.Random(1).sample(CELLS, len(CELLS))
    assert written(shuffled, "third.md").read_text().replace("third.svg", "page.svg") == one.read_text()
    assert read_lines(one.with_suffix(".jsonl")) == CELLS


def test_the_figure_names_every_federated_row(written):
    svg = written().with_suffix(".svg")
    ElementTree.parse(svg)
    names = re.findall(r"<!-- (.+?) -->", svg.read_text())
    for label in ("fullft", "loradecft", "flap_sam", "flap_sam, rank 4", "flap_sam, dora", "masam"):
        assert label in names
    assert {"0.5", "1", "10"} < {*names}, "megabytes over the logarithmic axis"
    assert "page.svg" in svg.with_suffix(".md").read_text()


def test_a_page_without_a_federation_or_a_claim_is_a_page(written):
    path = written(row(0.3, setting=LOCAL, method="decft"))
    assert "What reproduces" not in path.read_text()
    assert ["decft", "local"] in [line[:2] for line in section(path, "Methods")]
    assert "svg" not in path.read_text()
    assert not path.with_suffix(".svg").exists()
