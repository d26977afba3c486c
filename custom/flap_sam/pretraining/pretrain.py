# SPDX-License-Identifier: Apache-2.0
"""Pretrains the small SAM, promptably: an answer to a point or a box, then corrections of it."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing
from flap_sam.pretraining.loss import answer_loss
from flap_sam.pretraining.network import SHRINK, PromptableSam, enlarged
from flap_sam.pretraining.prompts import Prompts, boxes_for, correction, points_for
from flap_sam.pretraining.scenes import Scenes, draw

SCENES, ASKED, CORRECTIONS = 24, 4, 1
SMALLEST = 16  # pixels of a mask that is asked for
RATE, WARMUP, DECAY = 1e-3, 500, 0.05
LARGEST_GRADIENT = 1.0
KEPT_EVERY = 500
HELD_OUT = 2**40  # seeds from here on are never trained on


@dataclass(frozen=True)
class Asked:
    """Masks that are asked for, one prompt each.

    Args:
        masks: bool [n, S, S]; scene: the number of the image that each is on, int64 [n].
    """

    masks: Tensor
    scene: Tensor

    @cached_property
    def target(self) -> Tensor:
        """The share of each of the S / 4 x S / 4 pixels of an answer that the masks cover."""
        return F.avg_pool2d(self.masks[:, None].float(), SHRINK)[:, 0]


def scene_seed(seed: int, step: int) -> int:
    return seed * 2**24 + step


def pretrain(out: Path, steps: int, seed: int, say: Callable[[str], None]) -> Path:
    """Train for so many steps; takes up again what was interrupted, to the same bits.

    Writes the weights to `out`, and beside it the state that a run is continued from.

    Raises:
        FlapSamError: the state beside `out` is of another run, or damaged.
    """
    if out.suffix != ".safetensors":
        raise FlapSamError(f"{out} does not end in .safetensors, the format of the weights; choose a name that does.")
    network = PromptableSam(seed).train()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    state = out.with_name(out.name + ".state")
    first = _restore(state, network, optimizer, steps, seed) if state.exists() else 0
    began, recent = time.monotonic(), []
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        scenes = draw(SCENES, network.side, scene_seed(seed, step))
        recent.append(_step(network, optimizer, scenes, scene_seed(seed, step)))
        if (step + 1) % KEPT_EVERY == 0 or step + 1 == steps:
            _keep(state, network, optimizer, step + 1, steps, seed)
            left = (time.monotonic() - began) / (step + 1 - first) * (steps - step - 1)
            say(f"step {step + 1} of {steps}: loss {sum(recent) / len(recent):.4f}, about {left / 60:.0f} min left")
            recent = []
    with replacing(out) as stream:
        stream.write(save({name: t.contiguous() for name, t in network.state_dict().items()}))
    state.unlink()
    return out


def rate(step: int, steps: int) -> float:
    """The learning rate: linear up, then down along a cosine to 0."""
    if step < WARMUP:
        return RATE * (step + 1) / WARMUP
    return RATE * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP)))


def choose(scenes: Scenes, generator: torch.Generator, asked: int = ASKED) -> Asked:
    """So many masks of every scene, drawn from those that are large enough; scenes that have none are left out."""
    large = scenes.masks.flatten(2).sum(2) >= SMALLEST
    some = large.any(1).nonzero()[:, 0]
    chosen = torch.multinomial(large[some].float(), asked, replacement=True, generator=generator)
    scene = some.repeat_interleave(asked)
    return Asked(scenes.masks[scene, chosen.flatten()], scene)


def _step(network: PromptableSam, optimizer: torch.optim.Optimizer, scenes: Scenes, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    asked = choose(scenes, generator)
    embeddings = network.image_encoder(scenes.images)[asked.scene]
    prompts = (points_for, boxes_for)[seed % 2](asked.masks, generator)
    before: Tensor | None = None
    losses: list[Tensor] = []
    for _ in range(1 + CORRECTIONS):
        logits, expected = network(embeddings, prompts, before)
        several = before is not None or prompts.boxes is not None
        loss, best = answer_loss(logits, expected, asked.target, several)
        losses.append(loss)
        before = logits[torch.arange(len(best)), best].detach()
        prompts = corrected(prompts, asked, before, generator)
    total = sum(losses[1:], losses[0]) / len(losses)
    optimizer.zero_grad()
    total.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
    optimizer.step()
    return losses[0].item()


def corrected(prompts: Prompts, asked: Asked, answer: Tensor, generator: torch.Generator) -> Prompts:
    """The prompts, and a point each where the answer's logits [n, S / 4, S / 4] are wrong."""
    return prompts.and_point(*correction(asked.masks, enlarged(answer) > 0, generator))


def _keep(
    path: Path, network: PromptableSam, optimizer: torch.optim.Optimizer, done: int, steps: int, seed: int
) -> None:
    tensors = {f"network/{name}": t.contiguous() for name, t in network.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": t.contiguous() for name, t in moments.items()}
    with replacing(path) as stream:
        stream.write(save(tensors, {"done": str(done), "steps": str(steps), "seed": str(seed)}))


def _restore(path: Path, network: PromptableSam, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> int:
    """Stand where the state was written; the number of steps done."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata()
        tensors, done = load_file(path), int(notes["done"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise FlapSamError(f"State {path} cannot be read ({error}); remove it to start anew.") from error
    if (notes["steps"], notes["seed"]) != (str(steps), str(seed)):
        raise FlapSamError(
            f"{path} is of a run of {notes['steps']} steps with seed {notes['seed']}; remove it, or go on with those."
        )
    network.load_state_dict({n.removeprefix("network/"): t for n, t in tensors.items() if n.startswith("network/")})
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, number, kind = name.split("/")
            moments.setdefault(int(number), {})[kind] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return done
