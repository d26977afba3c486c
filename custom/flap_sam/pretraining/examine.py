"""How well a promptable network finds masks that it has never seen."""

import torch
from torch import Tensor

from flap_sam.pretraining.loss import overlap
from flap_sam.pretraining.network import PromptableSam, enlarged
from flap_sam.pretraining.pretrain import HELD_OUT, Asked, choose, corrected
from flap_sam.pretraining.prompts import boxes_for, points_for
from flap_sam.pretraining.scenes import draw

TOGETHER = 16
POINTS = 3


@torch.no_grad()
def examine(network: PromptableSam, scenes: int = 128) -> dict[str, float]:
    """Mean overlap (IoU) with the masks of held-out scenes, by what was asked with."""
    found: dict[str, list[Tensor]] = {}
    for first in range(0, scenes, TOGETHER):
        drawn = draw(min(TOGETHER, scenes - first), network.side, HELD_OUT + first)
        generator = torch.Generator().manual_seed(first)
        asked = choose(drawn, generator)
        embeddings = network.image_encoder(drawn.images)[asked.scene]
        for name, overlaps in overlaps_of(network, embeddings, asked, generator).items():
            found.setdefault(name, []).append(overlaps)
    return {name: torch.cat(parts).mean().item() for name, parts in found.items()}


@torch.no_grad()
def overlaps_of(
    network: PromptableSam, embeddings: Tensor, asked: Asked, generator: torch.Generator
) -> dict[str, Tensor]:
    """Overlaps [n] with the masks asked for: by a point, by its best answer of three, by three points, by a box.

    Of the three answers to a point the one counts of which the network itself expects most. The second and third
    point lie where the answer before was wrong.
    """
    prompts = points_for(asked.masks, generator)
    logits, expected = network(embeddings, prompts, None)
    three = torch.stack([overlap_with(asked, logits[:, k]) for k in (1, 2, 3)], dim=1)
    favourite = expected[:, 1:].argmax(1)
    own = torch.arange(len(favourite))
    found = {"a point": three[own, favourite], "its best answer": three.amax(1)}
    answer = logits[own, 1 + favourite]
    for _ in range(1, POINTS):
        prompts = corrected(prompts, asked, answer, generator)
        answer = network(embeddings, prompts, answer)[0][:, 0]
    box = network(embeddings, boxes_for(asked.masks, generator), None)[0][:, 0]
    return found | {"three points": overlap_with(asked, answer), "a box": overlap_with(asked, box)}


def overlap_with(asked: Asked, logits: Tensor) -> Tensor:
    """Overlaps [n] of answers [n, S / 4, S / 4], at the image's own resolution."""
    return overlap(enlarged(logits), asked.masks.float())
