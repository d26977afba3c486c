# SPDX-License-Identifier: Apache-2.0
"""A matplotlib figure as SVG within a page, in the page's colours, light and dark."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

SERIES = tuple(f"#0000{number:02x}" for number in range(1, 9))
INK, RULE, MUTED = "#000101", "#000102", "#000103"
VARIABLES = {INK: "ink", RULE: "rule", MUTED: "muted"} | {
    colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)
}
NAMESPACES = {"": "http://www.w3.org/2000/svg", "xlink": "http://www.w3.org/1999/xlink"}
STYLE: dict[Any, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "flap-sam",
    "font.size": 7.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.linewidth": 0.8,
    "figure.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0,
}


@contextmanager
def page_style() -> Iterator[None]:
    """Figures that are drawn in here have colours that `inline` hands over to the page: `SERIES`, `INK` and so on."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing")  # of our font; the page's own draws the text
        yield


def inline(drawn: Figure, name: str, label: str) -> Markup:
    """The figure as an SVG element that scales with its container.

    Args:
        name: unique in the page, before every id; label: what it shows, for who cannot see it.
    """
    stream = BytesIO()
    drawn.savefig(stream, format="svg")
    for prefix, address in NAMESPACES.items():
        ElementTree.register_namespace(prefix, address)
    root = ElementTree.fromstring(stream.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):  # they would hold for the whole page
                parent.remove(child)
    for element in root.iter():
        for key, value in element.items():
            element.set(key, _in_page(key, value, name))
    for size in ("width", "height"):
        del root.attrib[size]
    root.attrib |= {"role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, "unicode"))


def _in_page(key: str, value: str, name: str) -> str:
    """An attribute with ids that no other figure has, the page's colours and its font."""
    if key == "id":
        return f"{name}-{value}"
    value = re.sub(r"url\(#|^#", rf"\g<0>{name}-", value)
    if key == "style":
        value = re.sub(r"font-family: [^;]*;?", "", value)
        for colour, variable in VARIABLES.items():
            value = value.replace(colour, f"var(--{variable})")
    return value
