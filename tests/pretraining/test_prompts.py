# SPDX-License-Identifier: Apache-2.0
import torch
from flap_sam.pretraining.prompts import boxes_for, correction, filled, point_in, points_for

SIDE = 40


def masks() -> torch.Tensor:
    found = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
    found[0, 3:9, 20:35] = True
    found[1, 30, 11] = True
    found[2, 5:7] = True
    return found


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_points_lie_on_their_masks():
    for _ in range(20):
        x, y = point_in(masks(), generator()).long().unbind(1)
        assert masks()[torch.arange(3), y, x].all()
    prompts = points_for(masks(), generator())
    assert prompts.points.shape == (3, 1, 2)
    assert (prompts.labels == 1).all()


def test_boxes_are_near_the_masks():
    prompts = boxes_for(masks(), generator())
    assert prompts.points.shape == (3, 0, 2)
    expected = torch.tensor([[20, 3, 35, 9], [11, 30, 12, 31], [0, 5, SIDE, 7]], dtype=torch.float32)
    size = (expected[:, 2:] - expected[:, :2]).repeat(1, 2)
    assert ((prompts.boxes - expected).abs() <= 0.5 * size).all()
    assert prompts.boxes.min() >= 0
    assert prompts.boxes.max() <= SIDE


def test_a_filled_box_holds_the_pixels_whose_centres_are_in_it():
    boxes = torch.tensor([[20, 3, 35, 9], [11.4, 29.6, 12.4, 30.6]])
    assert torch.equal(filled(boxes, SIDE), masks()[:2])


def test_a_correction_lies_where_the_answer_is_wrong_and_says_on_which_side():
    missed, spilt = masks()[:1], torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    _, label = correction(missed, spilt, generator())
    assert label.tolist() == [1]
    places, label = correction(missed, missed | torch.ones_like(missed), generator())
    x, y = places.long().unbind(1)
    assert (label.tolist(), missed[0, y, x].item()) == ([0], False)
    places, label = correction(missed, missed, generator())
    assert places.shape == (1, 2), "even of an answer without fault there is a point"


def test_points_add_up():
    prompts = points_for(masks(), generator()).and_point(torch.zeros(3, 2), torch.tensor([0.0, 1, 0]))
    assert prompts.points.shape == (3, 2, 2)
    assert prompts.labels.tolist() == [[1, 0], [1, 1], [1, 0]]
