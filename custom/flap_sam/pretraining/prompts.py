# SPDX-License-Identifier: Apache-2.0
"""Points and boxes that ask for a mask, as a person would give them."""

from dataclasses import dataclass

import torch
from torch import Tensor

FOREGROUND, BACKGROUND = 1, 0
JITTER = 0.1


@dataclass(frozen=True)
class Prompts:
    """What is asked of one image, n times; in the form that SAM's prompt encoder takes.

    Args:
        points: float32 [n, p, 2] in pixels, x first; labels: [n, p], 1 on the organ, 0 beside it.
        boxes: float32 [n, 4], left, top, right, bottom; None where points ask.
    """

    points: Tensor
    labels: Tensor
    boxes: Tensor | None = None

    def and_point(self, places: Tensor, labels: Tensor) -> "Prompts":
        """The same with one more point each: places [n, 2], labels [n]."""
        points = torch.cat([self.points, places[:, None]], dim=1)
        return Prompts(points, torch.cat([self.labels, labels[:, None]], dim=1), self.boxes)


def point_in(masks: Tensor, generator: torch.Generator) -> Tensor:
    """A pixel drawn from each mask [n, S, S]: [n, 2], x first; of an empty mask from anywhere."""
    flat = masks.flatten(1)
    counted = torch.where(flat.any(1, keepdim=True), flat, True).cumsum(1)
    number = torch.rand(len(flat), 1, generator=generator, dtype=torch.float64) * counted[:, -1:]
    places = torch.searchsorted(counted, number.long(), right=True)[:, 0]
    side = masks.shape[-1]
    return torch.stack([places % side, places // side], dim=-1).float() + 0.5


def points_for(masks: Tensor, generator: torch.Generator) -> Prompts:
    """One point on each mask."""
    return Prompts(point_in(masks, generator)[:, None], torch.ones(len(masks), 1))


def boxes_for(masks: Tensor, generator: torch.Generator) -> Prompts:
    """A box around each mask, every side of it off by a random share of the box, as hands draw them."""
    side = masks.shape[-1]
    bounds = []
    for hit in (masks.any(1), masks.any(2)):
        first = hit.float().argmax(1)
        bounds.append((first, side - hit.flip(1).float().argmax(1)))
    (left, right), (top, bottom) = bounds
    boxes = torch.stack([left, top, right, bottom], dim=-1).float()
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    boxes += (JITTER * size * torch.randn(boxes.shape, generator=generator)).clamp(-20, 20)
    nothing = torch.zeros(len(masks), 0)
    return Prompts(nothing[..., None].expand(-1, -1, 2), nothing, boxes.clamp(0, side))


def filled(boxes: Tensor, side: int) -> Tensor:
    """The pixels in each of some boxes [n, 4]: bool [n, S, S]."""
    centres = torch.arange(side) + 0.5
    left, top, right, bottom = boxes[..., None].unbind(1)
    across, down = (left < centres) & (centres < right), (top < centres) & (centres < bottom)
    return down[:, :, None] & across[:, None]


def correction(masks: Tensor, found: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A point where the masks found, bool [n, S, S], are wrong, and whether it belongs to the organ."""
    places = point_in(masks ^ found, generator)
    x, y = places.long().unbind(1)
    return places, masks[torch.arange(len(masks)), y, x].float()
