# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.picture import CLASS_COLOURS
from flap_sam.inference.overlay import SIDE, draw, positions
from flap_sam.inference.segment import Segmented
from PIL import Image


def found(slices: int) -> Segmented:
    codes = np.zeros((slices, 20, 30), np.uint16)
    codes[:, 5:15, 8:20] = 40000
    labels = np.zeros(codes.shape, np.uint8)
    labels[slices // 3 : slices - 1, 6:12, 8:16] = 2
    return Segmented(codes, labels, None)


@pytest.mark.parametrize("slices", [1, 4, 40])
def test_the_slices_shown_run_from_the_first_with_an_organ_to_the_last(slices):
    shown = positions(found(slices).labels)
    organs = np.flatnonzero(found(slices).labels.any((1, 2)))
    expected = organs if len(organs) else np.arange(slices)
    assert (shown[0], shown[-1]) == (expected[0], expected[-1])
    assert len(shown) == min(8, len(expected))
    assert shown == sorted(set(shown))


def test_the_picture_outlines_the_classes(tmp_path):
    draw(tmp_path / "x.png", "x", found(12), (3.0, 1.0, 1.0), ["organ", "lesion"])
    picture = np.asarray(Image.open(tmp_path / "x.png"))
    assert picture.shape[1] == 4 * SIDE
    body = picture[60:].reshape(-1, 3)
    assert (body == CLASS_COLOURS[1]).all(1).sum() > 100
    assert not (body == CLASS_COLOURS[0]).all(1).any()
