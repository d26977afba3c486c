# SPDX-License-Identifier: Apache-2.0
"""How well a promptable network finds masks that it has never seen."""

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor

from flap_sam.pretraining.loss import overlap
from flap_sam.pretraining.network import PromptableSam, enlarged
from flap_sam.pretraining.pretrain import HELD_OUT, Asked, choose, corrected
from flap_sam.pretraining.prompts import boxes_for, filled, points_for
from flap_sam.pretraining.scenes import draw

TOGETHER = 16
POINTS = 3


def held_out(side: int, scenes: int = 128) -> Iterator[tuple[Tensor, Asked]]:
    """Scenes that are never trained on, some at a time: images [b, S, S], and masks of theirs."""
    for first in range(0, scenes, TOGETHER):
        drawn = draw(min(TOGETHER, scenes - first), side, HELD_OUT + first)
        yield drawn.images, choose(drawn, torch.Generator().manual_seed(HELD_OUT + first))


@torch.no_grad()
def examine(network: PromptableSam, questions: Iterable[tuple[Tensor, Asked]]) -> dict[str, Tensor]:
    """Overlaps (IoU) with all masks that are asked for, [masks], by what was asked with.

    Args:
        questions: images [b, S, S] and masks of theirs, as `held_out` and `organs` give them.
    """
    found: dict[str, list[Tensor]] = {}
    for number, (images, asked) in enumerate(questions):
        embeddings = network.image_encoder(images)[asked.scene]
        for name, overlaps in overlaps_of(network, embeddings, asked, torch.Generator().manual_seed(number)).items():
            found.setdefault(name, []).append(overlaps)
    return {name: torch.cat(parts) for name, parts in found.items()}


@torch.no_grad()
def overlaps_of(
    network: PromptableSam, embeddings: Tensor, asked: Asked, generator: torch.Generator
) -> dict[str, Tensor]:
    """Overlaps [n] with the masks asked for: by a point, by its best answer of three, by three points, by a box; and
    that of the box itself, without a network.

    Of the three answers to a point the network's favourite counts. The second and third point lie where the answer
    before was wrong.
    """
    prompts = points_for(asked.masks, generator)
    logits, expected = network(embeddings, prompts, None)
    three = torch.stack([overlap_with(asked, logits[:, k]) for k in (1, 2, 3)], dim=1)
    answer = favourite(logits, expected)
    found = {"a point": overlap_with(asked, answer), "its best answer": three.amax(1)}
    for _ in range(1, POINTS):
        prompts = corrected(prompts, asked, answer, generator)
        answer = network(embeddings, prompts, answer)[0][:, 0]
    found["three points"] = overlap_with(asked, answer)
    prompts = boxes_for(asked.masks, generator)
    found["a box"] = overlap_with(asked, network(embeddings, prompts, None)[0][:, 0])
    found["the box itself"] = overlap(filled(cast(Tensor, prompts.boxes), network.side), asked.masks)
    return found


def favourite(logits: Tensor, expected: Tensor) -> Tensor:
    """Of the three answers to a point the one of which the network itself expects most: [n, S / 4, S / 4]."""
    return logits[torch.arange(len(logits)), 1 + expected[:, 1:].argmax(1)]


def overlap_with(asked: Asked, logits: Tensor) -> Tensor:
    """Overlaps [n] of answers [n, S / 4, S / 4], at the image's own resolution."""
    return overlap(enlarged(logits), asked.masks.float())
