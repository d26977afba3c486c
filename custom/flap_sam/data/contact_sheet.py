# SPDX-License-Identifier: Apache-2.0
"""The contact sheet: one slice of every case with its mask, to see that masks sit on organs and left is left."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flap_sam.data.picture import FONT_SIZE, INK, PAPER, draw_legend, fullest_slice, grey, marked, mask, with_outlines
from flap_sam.foundation.files import replacing

SIDE = 192  # of a case's picture, in pixels
CAPTION = 34
GAP = 6
COLUMNS = 8


@dataclass(frozen=True)
class Tile:
    """One slice of a case.

    Attributes:
        position: the slice's number from 0, counted from the patient's feet.
        slices: how many the case has.
        image: uint8 [h, w], in the proportions of the patient, no side above `SIDE`.
        mask: uint8 [h, w], the labels of the same pixels.
    """

    site: str
    case: str
    split: str
    position: int
    slices: int
    image: np.ndarray
    mask: np.ndarray


def picture(
    site: str, case: str, split: str, image: np.ndarray, label: np.ndarray, spacing: tuple[float, float, float]
) -> Tile:
    """The slice with most foreground, or the middle one where there is none.

    Args:
        image, label: [slices, rows, columns] in store orientation.
        spacing: millimetres, in the same order.
    """
    position = fullest_slice(label)
    pixels, labels = grey(image[position], spacing[1:], SIDE), mask(label[position], spacing[1:], SIDE)
    return Tile(site, case, split, position, len(label), pixels, labels)


def contact_sheet(pictures: Sequence[Tile], classes: Sequence[str], path: Path) -> Path:
    """Write the pictures as one PNG, every site from a new row on, below a line that names the outlines' colours.

    Args:
        classes: class names without background.

    Returns:
        `path`.

    Raises:
        FlapSamError: the file cannot be written.
    """
    rows = [
        row for _, site in groupby(pictures, lambda shown: shown.site) for row in _chunks(list(site), COLUMNS)
    ]  # the pictures of a site follow one another
    step, height = SIDE + GAP, SIDE + CAPTION + GAP
    sheet = Image.new("RGB", (COLUMNS * step + GAP, len(rows) * height + CAPTION), PAPER)
    draw_legend(sheet, classes, CAPTION // 2)
    for y, row in enumerate(rows):
        for x, shown in enumerate(row):
            sheet.paste(_tile(shown), (GAP + x * step, CAPTION + y * height))
    with replacing(path) as stream:
        sheet.save(stream, "PNG")
    return path


def _tile(shown: Tile) -> Image.Image:
    """A picture with its outlines and marks, above its caption; text that is too long is cut off."""
    height, width = shown.image.shape
    square = Image.new("RGB", (SIDE, SIDE))
    pixels = with_outlines(np.repeat(shown.image[..., None], 3, axis=-1), shown.mask)
    square.paste(Image.fromarray(pixels), ((SIDE - width) // 2, (SIDE - height) // 2))
    tile = Image.new("RGB", (SIDE, SIDE + CAPTION), PAPER)
    tile.paste(marked(square))
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(FONT_SIZE)
    caption = f"{shown.site}  {shown.case}\n{shown.split}, slice {shown.position + 1} of {shown.slices}"
    draw.multiline_text((0, SIDE), caption, INK, font, spacing=2)
    return tile


def _chunks(items: list[Tile], size: int) -> list[list[Tile]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
