# SPDX-License-Identifier: Apache-2.0
"""Pictures of a site's best and worst test cases. They show patients: they stay where the site wrote them."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from flap_sam.data.picture import fullest_slice, overlay
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing
from flap_sam.foundation.means import mean_of_known
from flap_sam.foundation.strict import Count, Number, StrictModel, parse
from flap_sam.records.scores import ByClass

FOLDER = "pictures"
EACH = 2  # of the best, and as many of the worst
SIDE = 288
CAPTION = "caption"


class Caption(StrictModel):
    """What is written into a picture's file: no case's name.

    Args:
        site: the name it has in the run; round: that the payload starts.
        dice: of the whole case, by class; slice: number of the one shown, from 1 at the feet; slices: of the case.
        classes: their names.
    """

    version: Literal[1] = 1
    site: str
    round: Count
    dice: list[Number | None]
    slice: Count
    slices: Count
    classes: list[str]

    @property
    def mean(self) -> float | None:
        """Mean Dice of the case's classes."""
        return mean_of_known(self.dice)


class Gallery:
    """The pictures of an evaluation, the truth filled and the prediction outlined; keeps the best and the worst.

    Args:
        folder: where they are written, below the site's own folder of the run.
    """

    def __init__(self, folder: Path, site: str, classes: Sequence[str], round_number: int) -> None:
        self._folder, self._site, self._classes, self._round = folder, site, list(classes), round_number
        self._shown: list[tuple[float, Caption, Image.Image]] = []

    def add(
        self,
        image: np.ndarray,
        truth: np.ndarray,
        prediction: np.ndarray,
        spacing: tuple[float, float, float],
        dice: ByClass,
    ) -> None:
        """Take up a case, unless its truth is empty: arrays are [slices, rows, columns], `spacing` in millimetres."""
        mean = mean_of_known(dice)
        if mean is None:
            return
        k = fullest_slice(truth)
        caption = Caption(
            site=self._site, round=self._round, dice=list(dice), slice=k + 1, slices=len(truth), classes=self._classes
        )
        self._shown.append((mean, caption, overlay(image[k], spacing[1:], SIDE, truth[k], prediction[k])))
        self._shown.sort(key=lambda shown: shown[0], reverse=True)
        del self._shown[EACH:-EACH]

    def write(self) -> None:
        """Write the pictures as PNG, from the best to the worst."""
        for number, (_, caption, picture) in enumerate(self._shown, 1):
            notes = PngInfo()
            notes.add_text(CAPTION, caption.to_json())
            with replacing(self._folder / f"round_{self._round:05}_{number}.png", private=True) as stream:
                picture.save(stream, "PNG", pnginfo=notes)


def pictures_below(work: Path, round_number: int) -> list[Path]:
    """The pictures of a round's payload in all site folders below a folder, site by site, the best first."""
    return sorted(work.rglob(f"{FOLDER}/**/round_{round_number:05}_*.png"))


def read(path: Path) -> tuple[Caption, bytes]:
    """A picture's caption and its file.

    Raises:
        FlapSamError: it is none of ours, or damaged.
    """
    try:
        content = path.read_bytes()
        with Image.open(BytesIO(content), formats=["PNG"]) as picture:
            picture.load()
            caption = parse(Caption, picture.info[CAPTION])
    except (OSError, UnidentifiedImageError, KeyError, ValueError, TypeError) as error:
        raise FlapSamError(f"Picture {path} cannot be read ({error}); remove it.") from error
    return caption, content
