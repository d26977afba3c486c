# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.picture import CLASS_COLOURS, colour_of, fullest_slice, grey, mask, overlay

SPACING = (2.0, 1.0)


def square(shape=(20, 40)) -> np.ndarray:
    label = np.zeros(shape, np.uint8)
    label[5:15, 10:30] = 1
    return label


def test_the_fullest_slice_else_the_middle_one():
    label = np.zeros((5, 4, 6), np.uint8)
    assert fullest_slice(label) == 2
    label[3, 1], label[4, :2, :2] = 1, 2
    assert fullest_slice(label) == 3


def test_a_picture_is_as_the_patient_is_and_its_labels_are_on_the_same_pixels():
    image = np.tile(np.arange(40, dtype=np.uint16) * 1000, (20, 1))
    pixels, labels = grey(image, SPACING, 80), mask(square(), SPACING, 80)
    assert pixels.shape == labels.shape == (80, 80), "20 rows of 2 mm, 40 columns of 1 mm"
    assert pixels[40, 0] == 0
    assert pixels[40, 79] == 255
    assert (labels[40, 20:60] == 1).all()
    assert labels.sum() == 40 * 40


def test_what_is_filled_and_what_is_outlined_can_be_told_apart():
    image = np.random.default_rng(0).integers(0, 65536, (20, 40), np.uint16)
    plain = np.asarray(overlay(image, SPACING, 80)).astype(int)
    filled = np.asarray(overlay(image, SPACING, 80, filled=square())).astype(int)
    outlined = np.asarray(overlay(image, SPACING, 80, outlined=2 * square())).astype(int)
    labels = mask(square(), SPACING, 80) > 0
    inner = labels & (np.roll(labels, 1, 0) & np.roll(labels, -1, 0) & np.roll(labels, 1, 1) & np.roll(labels, -1, 1))
    assert (np.ptp(plain[labels], axis=-1) == 0).all(), "grey"
    towards = np.abs(filled - CLASS_COLOURS[0]).sum(-1) <= np.abs(plain - CLASS_COLOURS[0]).sum(-1)
    assert towards[labels].all()
    assert (filled[labels] != CLASS_COLOURS[0]).any(axis=-1).mean() > 0.9, "the picture shows through"
    assert (outlined[labels & ~inner] == CLASS_COLOURS[1]).all()
    assert (outlined[inner] == plain[inner]).all()
    assert (filled[~labels] == plain[~labels]).all()
    assert (outlined[~labels] == plain[~labels]).all()


@pytest.mark.parametrize("label", [1, len(CLASS_COLOURS), len(CLASS_COLOURS) + 2])
def test_colours_begin_again_after_the_last(label):
    assert colour_of(label) == CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)]
    pixels = np.asarray(overlay(np.zeros((9, 9), np.uint16), (1.0, 1.0), 90, outlined=np.full((9, 9), label, np.uint8)))
    assert tuple(pixels[0, 4]) == colour_of(label)
