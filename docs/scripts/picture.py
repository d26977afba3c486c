# SPDX-License-Identifier: Apache-2.0
"""The README's picture of a round, as an SVG: `make docs` writes it to docs/figures/round.svg."""

from collections.abc import Iterator
from html import escape
from pathlib import Path

FILE = Path(__file__).parents[1] / "figures" / "round.svg"
WIDTH, HEIGHT = 900, 340
INK, PALE, SITE, SERVER = "#1f2937", "#6b7280", "#e0f2fe", "#fef3c7"
SITES = ("hospital A", "hospital B", "hospital F")
TOP, STEP, TALL = 20, 104, 84


def picture() -> str:
    """The whole SVG."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    title = "<title>One round: hospitals train adapters on their own scans, the server averages what they do</title>"
    arrow = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="{INK}"/></marker></defs>'
    )
    paper = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return "\n".join([head, title, arrow, paper, *_sites(), *_server(), *_arrows(), "</svg>", ""])


def _sites() -> Iterator[str]:
    for number, name in enumerate(SITES):
        y = TOP + number * STEP
        yield _box(20, y, 300, TALL, SITE)
        yield _text(36, y + 26, name, bold=True)
        yield _text(36, y + 48, "its scans and SAM's weights stay here", colour=PALE)
        yield _text(36, y + 70, "trains LoRA (A, B), UP and HYP: 2 %")


def _server() -> Iterator[str]:
    yield _box(600, TOP, 280, 2 * STEP + TALL, SERVER)
    lines = (
        ("server", True, INK),
        ("it needs no data and no weights", False, PALE),
        ("", False, INK),
        ("1. checks every update", False, INK),
        ("2. averages what the adapters do:", False, INK),
        ("ΔW = Σ wₖ Bₖ Aₖ", True, INK),
        ("3. refactorises it by a truncated SVD:", False, INK),
        ("B A ≈ ΔW, of rank r", True, INK),
        ("4. averages UP and HYP", False, INK),
    )
    for number, (text, bold, colour) in enumerate(lines):
        yield _text(622, TOP + 34 + number * 30, text, bold, colour)


def _arrows() -> Iterator[str]:
    for number in range(len(SITES)):
        y = TOP + number * STEP + TALL // 2
        yield _line(328, y - 10, 592, y - 10)
        yield _line(592, y + 12, 328, y + 12)
    middle = TOP + TALL // 2
    yield _text(350, middle - 18, "Aₖ, Bₖ, UPₖ, HYPₖ: 7.4 MB")
    yield _text(350, middle + 32, "A, B, UP, HYP: 7.4 MB")


def _box(x: int, y: int, wide: int, tall: int, fill: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{wide}" height="{tall}" rx="10" fill="{fill}" stroke="{INK}"/>'


def _line(x1: int, y1: int, x2: int, y2: int) -> str:
    ends = f'x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'
    return f'<line {ends} stroke="{INK}" stroke-width="1.6" marker-end="url(#tip)"/>'


def _text(x: int, y: int, text: str, bold: bool = False, colour: str = INK) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="15" fill="{colour}"{weight}>{escape(text)}</text>'


if __name__ == "__main__":
    FILE.write_text(picture())
