# SPDX-License-Identifier: Apache-2.0
"""A picture of what was found in a scan: slices through the organs, the classes outlined."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flap_sam.data.picture import FONT_SIZE, INK, PAPER, draw_legend, overlay
from flap_sam.foundation.files import replacing
from flap_sam.inference.segment import Segmented

SLICES = 8
COLUMNS = 4
SIDE = 320
BAR = 26


def draw(path: Path, name: str, found: Segmented, spacing: tuple[float, float, float], classes: Sequence[str]) -> None:
    """Write up to 8 slices as one PNG, evenly spread from the first to the last that shows an organ.

    Args:
        name: of the scan, for the head line.
        spacing: millimetres, in store order.
        classes: their names, for the legend.

    Raises:
        FlapSamError: the file cannot be written.
    """
    tiles = [_tile(found, position, spacing) for position in positions(found.labels)]
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (max(columns * SIDE, COLUMNS * SIDE // 2), rows * (SIDE + BAR) + 2 * BAR), PAPER)
    ImageDraw.Draw(sheet).text((6, BAR // 2), name, INK, ImageFont.load_default(FONT_SIZE), "lm")
    draw_legend(sheet, classes, BAR + BAR // 2)
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (k % columns * SIDE, 2 * BAR + k // columns * (SIDE + BAR)))
    with replacing(path) as stream:
        sheet.save(stream, "PNG")


def positions(labels: np.ndarray) -> list[int]:
    """The slices to show of labels [slices, rows, columns]; of a scan without organs, from all over it."""
    shown = np.flatnonzero(labels.any(axis=(1, 2)))
    first, last = (shown[0], shown[-1]) if len(shown) else (0, len(labels) - 1)
    return np.unique(np.linspace(first, last, SLICES).round().astype(int)).tolist()


def _tile(found: Segmented, position: int, spacing: tuple[float, float, float]) -> Image.Image:
    picture = overlay(found.codes[position], spacing[1:], SIDE, outlined=found.labels[position])
    tile = Image.new("RGB", (SIDE, SIDE + BAR), PAPER)
    tile.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    caption = f"slice {position + 1} of {len(found.labels)}"
    ImageDraw.Draw(tile).text((6, SIDE + BAR // 2), caption, INK, ImageFont.load_default(FONT_SIZE), "lm")
    return tile
