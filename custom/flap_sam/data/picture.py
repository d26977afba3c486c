# SPDX-License-Identifier: Apache-2.0
"""A slice as a picture, with label maps drawn over it.

A slice is seen from the patient's feet, as radiologists look at it: the left edge of the picture is the
patient's right (see `geometry` on the store orientation), and both edges are marked.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONT_SIZE = 13
CLASS_COLOURS = ((255, 214, 0), (255, 64, 64), (0, 224, 255), (96, 255, 96), (255, 112, 255), (255, 150, 40))
INK, PAPER = (230, 230, 230), (24, 24, 24)
FILLING = 0.35
MARGIN = 6


def fullest_slice(label: np.ndarray) -> int:
    """The slice of [slices, rows, columns] with most foreground, or the middle one where there is none."""
    foreground = np.count_nonzero(label, axis=(1, 2))
    return int(foreground.argmax()) if foreground.any() else len(label) // 2


def grey(image: np.ndarray, spacing: tuple[float, float], side: int) -> np.ndarray:
    """A slice between its 1st and 99th percentile, in the proportions of the patient.

    Args:
        image: [rows, columns]; spacing: millimetres, in the same order.
        side: the longer side of the picture, in pixels.

    Returns:
        uint8 [h, w], the larger of which is `side`.
    """
    low, high = np.percentile(image, (1, 99))
    codes = np.rint((image.clip(low, high) - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)
    return _resized(codes, spacing, side, Image.Resampling.BICUBIC)


def mask(label: np.ndarray, spacing: tuple[float, float], side: int) -> np.ndarray:
    """The labels of the pixels of `grey`: uint8 [h, w], from uint8 [rows, columns]."""
    return _resized(label, spacing, side, Image.Resampling.NEAREST)


def overlay(
    image: np.ndarray,
    spacing: tuple[float, float],
    side: int,
    filled: np.ndarray | None = None,
    outlined: np.ndarray | None = None,
) -> Image.Image:
    """One slice with label maps in the classes' colours, and R and L at the patient's right and left.

    Args:
        image, spacing, side: as for `grey`.
        filled: a label map that tints its pixels, such as the truth, uint8 [rows, columns].
        outlined: one of which the outlines are drawn, such as a prediction, uint8 [rows, columns].
    """
    pixels = np.repeat(grey(image, spacing, side)[..., None], 3, axis=-1)
    if filled is not None:
        pixels = tinted(pixels, mask(filled, spacing, side))
    if outlined is not None:
        pixels = with_outlines(pixels, mask(outlined, spacing, side))
    return marked(Image.fromarray(pixels))


def tinted(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] with the pixels of every class in a mixture with its colour; labels are uint8 [h, w]."""
    inside, out = labels > 0, pixels.copy()
    out[inside] = np.rint((1 - FILLING) * pixels[inside] + FILLING * _colours(labels[inside]))
    return out


def with_outlines(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] with the inner edge of every class in its colour; labels are uint8 [h, w]."""
    padded = np.pad(labels, 1)
    neighbours = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    edge = (labels > 0) & np.any([other != labels for other in neighbours], axis=0)
    out = pixels.copy()
    out[edge] = _colours(labels[edge])
    return out


def marked(picture: Image.Image) -> Image.Image:
    """The same picture, R and L drawn into it."""
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(FONT_SIZE)
    for mark, x, anchor in (("R", 3, "lm"), ("L", picture.width - 3, "rm")):
        draw.text((x, picture.height // 2), mark, INK, font, anchor, stroke_width=1, stroke_fill=(0, 0, 0))
    return picture


def colour_of(label: int) -> tuple[int, int, int]:
    """The colour of a class, 1 or more; those beyond the last begin again."""
    return CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)]


def draw_legend(sheet: Image.Image, classes: Sequence[str], y: int) -> None:
    """A line that names the outlines' colours, centred on the height y."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    words = [("R and L are the patient's right and left. Outlines:", INK)]
    words += [(name, colour_of(label)) for label, name in enumerate(classes, 1)]
    x = float(MARGIN)
    for word, colour in words:
        draw.text((x, y), word, colour, font, "lm")
        x += draw.textlength(word, font) + FONT_SIZE


def _colours(labels: np.ndarray) -> np.ndarray:
    return np.take(CLASS_COLOURS, labels.astype(int) - 1, axis=0, mode="wrap")


def _resized(pixels: np.ndarray, spacing: tuple[float, float], side: int, how: Image.Resampling) -> np.ndarray:
    height, width = np.multiply(pixels.shape, spacing)
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(np.asarray(pixels)).resize(size, how))
