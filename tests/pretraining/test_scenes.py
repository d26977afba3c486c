# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.pretraining.scenes import BLOBS, PARTS, RINGS, SHAPES, TUBES, draw

SIDE = 48


@pytest.fixture(scope="module")
def scenes():
    return draw(12, SIDE, 5)


def test_the_same_seed_draws_the_same_scenes(scenes):
    again, other = draw(12, SIDE, 5), draw(12, SIDE, 6)
    assert torch.equal(again.images, scenes.images)
    assert torch.equal(again.masks, scenes.masks)
    assert not torch.equal(other.images, scenes.images)


def test_images_fill_the_range_and_differ(scenes):
    assert scenes.images.shape == (12, SIDE, SIDE)
    assert scenes.images.min() >= 0
    assert scenes.images.max() <= 1
    assert (scenes.images.flatten(1).std(1) > 0.02).all()
    means = scenes.images.flatten(1).mean(1)
    assert means.std() > 0.05, "dark scenes and bright ones"


def test_what_is_seen_of_shapes_does_not_overlap_and_parts_lie_in_them(scenes):
    seen, parts, bare, _ = scenes.masks.split([SHAPES, PARTS, SHAPES, 2], dim=1)
    assert BLOBS + RINGS + TUBES == SHAPES
    assert seen.sum(1).max() == 1
    assert not (parts.any(1) & ~seen.any(1)).any()
    assert not (bare & ~seen).any()
    assert not (bare & parts.any(1, keepdim=True)).any()
    assert parts.any(), "some shapes have parts"
    assert (seen.flatten(2).any(2).sum(1) >= 2).all(), "every scene has several shapes"


def test_a_shape_can_be_seen_in_the_image(scenes):
    """Most large masks differ from what lies around them by more than the mean of the image's noise."""
    seen = scenes.masks[:, :SHAPES].float()
    inside = (seen * scenes.images[:, None]).sum((2, 3)) / seen.sum((2, 3)).clamp_min(1)
    outside = ((1 - seen) * scenes.images[:, None]).sum((2, 3)) / (1 - seen).sum((2, 3))
    large = seen.sum((2, 3)) > 40
    assert ((inside - outside).abs()[large] > 0.05).float().mean() > 0.6
