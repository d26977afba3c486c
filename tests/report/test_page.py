# SPDX-License-Identifier: Apache-2.0
"""The page as HTML, and in a browser: on a phone and on a desk, in light and in dark, without a network."""

import os
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from flap_sam.report.page import Bar, Page, Picture, Section, Table, render
from flap_sam.report.write import write
from jinja2 import UndefinedError
from playwright.sync_api import Browser, sync_playwright

from tests.report.runs import absences, made_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS, SCHEMES = (390, 1440), ("light", "dark")


def page_of(*sections: Section, **parts) -> str:
    usual = {"title": "A run", "facts": [], "notices": [], "health": None, "figures": []}
    return render(Page(**usual | parts, sections=sections))


@pytest.mark.parametrize(
    ("head", "cell", "wide"), [(2, 5, False), (6, 40, False), (7, 5, True), (2, 41, True), (1, 40, False)]
)
def test_a_table_of_many_columns_or_long_texts_takes_the_whole_width(head, cell, wide):
    assert Table("T", ["h"] * head, [["x" * cell] * head]).wide == wide


def test_every_text_is_escaped_wherever_it_stands():
    odd = "<b onload=x>&'\"{{ 7 * 7 }}"
    section = Section(
        "id",
        odd,
        sentences=[odd],
        points=[odd],
        bars=[Bar(odd, odd, 0.5)],
        pictures=[Picture("", odd)],
        colours=[("#ffffff", odd)],
        tables=[Table(odd, [odd], [[odd]], foot=[[odd]], note=odd)],
    )
    parts = {"title": odd, "facts": [odd], "notices": [odd], "health": (True, odd), "figures": [(odd, odd, odd)]}
    plain, found = page_of(Section("id", ""), title="", health=(True, "")), page_of(section, **parts)
    assert "<b" not in found.replace("<body", "")
    assert "49" not in found.partition("</style>")[2]
    assert found.count("&lt;b onload=x&gt;") >= 17
    assert plain.count("<script") == found.count("<script") == 0


@pytest.mark.parametrize("health", [None, (True, "All is well."), (False, "One was left out.")])
def test_health_is_told_where_it_is_known(health):
    found = page_of(health=health)
    assert ('class="health good"' in found) == (health is not None and health[0])
    assert ('class="health bad"' in found) == (health is not None and not health[0])


def test_every_section_is_reached_from_the_top():
    found = page_of(Section("one", "First"), Section("two", "Second"))
    assert found.index('href="#one"') < found.index('href="#two"') < found.index('<section id="one"')


def test_a_part_that_is_none_is_a_fault_and_not_a_gap():
    with pytest.raises(UndefinedError):
        page_of("a text is no section")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed; the page is tested without one")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """Many sites with long names, some refused, with pictures: the widest page there is."""
    work = tmp_path_factory.mktemp("run")
    sites = [f"a-hospital-with-a-long-name-of-its-own-{n}.example.org" for n in range(8)]
    made_run(work, sites=sites, change=absences, pictures=True, demo=True)
    return write(work, work / "report.html")


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in SCHEMES], ids=lambda p: f"{p[0]}-{p[1]}")
def opened(request, browser, report):
    """The page, what its console said and what it asked the network for."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda sent: asked.append(sent.url) if not sent.url.startswith(("file:", "data:")) else None)
    page.goto(report.as_uri())
    yield page, said, asked, scheme
    context.close()


def test_the_page_is_quiet_whole_and_as_wide_as_the_screen(opened):
    page, said, asked, _ = opened
    assert said == []
    assert asked == []
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), "nothing scrolls sideways"
    assert page.evaluate("document.querySelectorAll('table').length") > 5
    assert page.evaluate("document.querySelectorAll('figure svg').length") == 9
    sizes = page.evaluate("[...document.querySelectorAll('figure svg, img')].map(e => e.getBoundingClientRect().width)")
    assert min(sizes) > 100, "every figure and picture has a size"
    outside = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && "
    outside += "e.getBoundingClientRect().right > innerWidth + 1).length"
    assert page.evaluate(outside) == 0, "what is wider scrolls in a container of its own"
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


def test_headings_follow_one_another_and_figures_have_labels(opened):
    page, *_ = opened
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    labels = page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => [s.role || s.getAttribute('role'), "
        "s.getAttribute('aria-label')])"
    )
    assert all(role == "img" and label for role, label in labels)
    assert page.evaluate("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")


def test_text_and_colours_stand_out_from_the_paper_in_both_schemes(opened):
    """Contrast after WCAG 2: at least 4.5 for text, also in figures, and 3 for what figures draw."""
    page, _, _, scheme = opened
    paper = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (paper < 0.5) == (scheme == "dark")
    notice = luminance(page.evaluate("getComputedStyle(document.querySelector('.notice')).backgroundColor"))
    for ground, texts, drawn in ((notice, ".notice", ".none"), (paper, "p:not(.notice), td, th, li, dd", "svg text")):
        colours = page.evaluate(
            f"[...document.querySelectorAll('{texts}')].map(e => getComputedStyle(e).color)"
            f".concat([...document.querySelectorAll('{drawn}')].map(e => getComputedStyle(e).fill))"
        )
        assert min(contrast(ground, luminance(colour)) for colour in set(colours)) >= 4.5
    series = page.evaluate("[...document.querySelectorAll('.mark')].map(e => getComputedStyle(e).color)")
    assert min(contrast(paper, luminance(colour)) for colour in set(series)) >= 3


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of a colour that the browser names `rgb(r, g, b)`."""
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
