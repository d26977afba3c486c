"""The contact sheet: one slice of every case with its mask, to see that masks sit on organs and left is left.

A slice is seen from the patient's feet, as radiologists look at it: the left edge of the picture is the
patient's right (see `geometry` on the store orientation), and both edges are marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flap_sam.files import replacing

SIDE = 192  # of a case's picture, in pixels
CAPTION = 34
GAP = 6
COLUMNS = 8
FONT_SIZE = 13
CLASS_COLOURS = ((255, 214, 0), (255, 64, 64), (0, 224, 255), (96, 255, 96), (255, 112, 255), (255, 150, 40))
INK, PAPER = (230, 230, 230), (24, 24, 24)


@dataclass(frozen=True)
class Picture:
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
) -> Picture:
    """The slice with most foreground, or the middle one where there is none.

    Args:
        image, label: [slices, rows, columns] in store orientation.
        spacing: millimetres, in the same order.
    """
    foreground = np.count_nonzero(label, axis=(1, 2))
    position = int(foreground.argmax()) if foreground.any() else len(label) // 2
    size = _size(image.shape[1:], spacing[1:])
    grey = Image.fromarray(_grey(image[position])).resize(size, Image.Resampling.BICUBIC)
    mask = Image.fromarray(np.asarray(label[position])).resize(size, Image.Resampling.NEAREST)
    return Picture(site, case, split, position, len(label), np.asarray(grey), np.asarray(mask))


def contact_sheet(pictures: Sequence[Picture], classes: Sequence[str], path: Path) -> Path:
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
    _draw_legend(sheet, classes)
    for y, row in enumerate(rows):
        for x, shown in enumerate(row):
            sheet.paste(_tile(shown), (GAP + x * step, CAPTION + y * height))
    with replacing(path) as stream:
        sheet.save(stream, "PNG")
    return path


def _size(shape: tuple[int, int], spacing: tuple[float, float]) -> tuple[int, int]:
    """Width and height of a slice in pixels."""
    height, width = np.multiply(shape, spacing)
    scale = SIDE / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _grey(image: np.ndarray) -> np.ndarray:
    """A slice between its 1st and 99th percentile, as uint8."""
    low, high = np.percentile(image, (1, 99))
    return np.rint((image.clip(low, high) - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)


def _tile(shown: Picture) -> Image.Image:
    """A picture with its outlines and marks, above its caption; text that is too long is cut off."""
    tile = Image.new("RGB", (SIDE, SIDE + CAPTION))
    height, width = shown.image.shape
    left, top = (SIDE - width) // 2, (SIDE - height) // 2
    tile.paste(Image.fromarray(_outlined(shown)), (left, top))
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(FONT_SIZE)
    for mark, x, anchor in (("R", 3, "lm"), ("L", SIDE - 3, "rm")):
        draw.text((x, SIDE // 2), mark, INK, font, anchor, stroke_width=1, stroke_fill=(0, 0, 0))
    draw.rectangle((0, SIDE, SIDE, SIDE + CAPTION), PAPER)
    caption = f"{shown.site}  {shown.case}\n{shown.split}, slice {shown.position + 1} of {shown.slices}"
    draw.multiline_text((0, SIDE), caption, INK, font, spacing=2)
    return tile


def _outlined(shown: Picture) -> np.ndarray:
    """uint8 [h, w, 3] with the inner edge of every class in its colour."""
    padded = np.pad(shown.mask, 1)
    neighbours = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    edge = (shown.mask > 0) & np.any([other != shown.mask for other in neighbours], axis=0)
    pixels = np.repeat(shown.image[..., None], 3, axis=-1)
    pixels[edge] = np.take(CLASS_COLOURS, shown.mask[edge].astype(int) - 1, axis=0, mode="wrap")
    return pixels


def _draw_legend(sheet: Image.Image, classes: Sequence[str]) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    words = [("R and L are the patient's right and left. Outlines:", INK)]
    words += [(name, CLASS_COLOURS[k % len(CLASS_COLOURS)]) for k, name in enumerate(classes)]
    x = GAP
    for word, colour in words:
        draw.text((x, CAPTION // 2), word, colour, font, "lm")
        x += draw.textlength(word, font) + FONT_SIZE


def _chunks(items: list[Picture], size: int) -> list[list[Picture]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
