# SPDX-License-Identifier: Apache-2.0
"""Figures within a page: their own ids, the page's colours, and nothing that holds beyond them."""

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from flap_sam.report.svg import INK, MUTED, RULE, SERIES, VARIABLES, inline, page_style
from matplotlib.figure import Figure


def drawn(name: str, label: str = "A figure", colours=SERIES) -> str:
    with page_style():
        figure = Figure((3, 2))
        axes = figure.add_subplot()
        for k, colour in enumerate(colours):
            axes.plot([0, 1], [k, k], color=colour, marker="o")
        axes.set(xlabel="round", title="Loss")
        axes.bar([0.5], [1], color=INK)
        return str(inline(figure, name, label))


def test_ids_are_the_figures_own_and_what_refers_to_them_finds_them():
    one, two = drawn("one"), drawn("two")
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in (one, two)]
    assert all(name.startswith("one-") for name in ids[0])
    assert not set(ids[0]) & set(ids[1])
    references = set(re.findall(r'(?:url\(#|href="#)([^")]+)', one))
    assert references
    assert references <= set(ids[0])


def test_colours_are_the_pages_variables_and_no_other():
    svg = drawn("one")
    assert not [colour for colour in VARIABLES if colour in svg]
    assert {f"var(--series-{k})" for k in range(1, len(SERIES) + 1)} <= set(re.findall(r"var\([^)]*\)", svg))
    assert "var(--ink)" in svg
    assert "var(--rule)" in svg


def test_no_two_colours_are_the_same_or_part_of_each_other():
    assert len({*SERIES, INK, RULE, MUTED}) == len(SERIES) + 3 == len(VARIABLES) == len(set(VARIABLES.values()))


def test_nothing_holds_for_the_whole_page_and_the_size_is_its_containers():
    root = ElementTree.fromstring(drawn("one"))
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not tags & {"style", "metadata", "script"}
    assert not {"width", "height"} & set(root.attrib)
    assert re.fullmatch(r"[\d. ]+", root.get("viewBox"))
    assert "font-family" not in drawn("one")


@pytest.mark.parametrize("label", ["Loss by site", '"><script>alert(1)</script>', "a & b"])
def test_the_label_is_for_who_cannot_see_it_and_a_text(label):
    root = ElementTree.fromstring(drawn("one", label))
    assert (root.get("role"), root.get("aria-label")) == ("img", label)
    assert "<script" not in drawn("one", label)


def test_other_figures_keep_their_style():
    before = dict(mpl.rcParams)
    with page_style():
        assert mpl.rcParams["text.color"] == INK
    assert dict(mpl.rcParams) == before


def test_a_character_that_our_font_lacks_is_no_warning_and_stays_a_text():
    with page_style():
        figure = Figure((3, 2))
        figure.add_subplot().set_title("北京医院")
        assert "北京医院" in inline(figure, "one", "A figure")
