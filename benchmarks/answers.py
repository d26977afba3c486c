# SPDX-License-Identifier: Apache-2.0
"""A picture of what networks answer to a point."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from flap_sam.data.picture import tinted, with_outlines
from flap_sam.foundation.files import replacing
from flap_sam.pretraining.examine import favourite, overlap_with
from flap_sam.pretraining.network import PromptableSam, enlarged
from flap_sam.pretraining.pretrain import Asked
from flap_sam.pretraining.prompts import points_for
from matplotlib import pyplot
from PIL import Image
from torch import Tensor

ENLARGED = 2  # so that outlines are fine lines
POINT = "#00e0ff"
COLOURS = 64  # for a small file

Questions = Sequence[tuple[Tensor, Asked]]


@dataclass(frozen=True)
class Example:
    """An image [S, S], a point [2] on a mask [S, S] in it, and every network's answer, bool [S, S], with its IoU."""

    image: Tensor
    point: Tensor
    truth: Tensor
    answers: list[Tensor]
    overlaps: list[float]


def draw(kinds: Mapping[str, Questions], networks: Mapping[str, PromptableSam], path: Path) -> None:
    """A row for each kind of mask: the one for which the last network's overlap is in the middle of all of its kind."""
    mpl.use("Agg")
    size = len(kinds), 2 + len(networks)
    figure, panels = pyplot.subplots(*size, figsize=(1.9 * size[1], 1.95 * size[0]), dpi=100, layout="constrained")
    for row, (kind, questions) in zip(panels, kinds.items(), strict=True):
        examples = sorted(_examples(questions, list(networks.values())), key=lambda example: example.overlaps[-1])
        shown = examples[len(examples) // 2]
        _show(row[0], shown.image)
        row[0].plot(*(ENLARGED * shown.point), "o", color=POINT, markeredgecolor="black", markersize=6)
        row[0].set_ylabel(kind)
        _show(row[1], shown.image, shown.truth)
        for panel, answer, overlap in zip(row[2:], shown.answers, shown.overlaps, strict=True):
            _show(panel, shown.image, answer)
            panel.set_xlabel(f"IoU {overlap:.2f}")
    for panel, title in zip(panels[0], ("image and point", "truth", *networks), strict=True):
        panel.set_title(title, fontsize="medium")
    figure.canvas.draw()
    drawn = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    with replacing(path) as stream:
        drawn.quantize(COLOURS, Image.Quantize.FASTOCTREE).save(stream, "PNG")


@torch.no_grad()
def _examples(questions: Questions, networks: Iterable[PromptableSam]) -> Iterator[Example]:
    """Every mask with the point by which `examine` asks for it."""
    for number, (images, asked) in enumerate(questions):
        prompts = points_for(asked.masks, torch.Generator().manual_seed(number))
        logits = [favourite(*net(net.image_encoder(images)[asked.scene], prompts, None)) for net in networks]
        answers = torch.stack([enlarged(answer) > 0 for answer in logits], dim=1)
        overlaps = torch.stack([overlap_with(asked, answer) for answer in logits], dim=1)
        for k, scene in enumerate(asked.scene):
            yield Example(images[scene], prompts.points[k, 0], asked.masks[k], [*answers[k]], overlaps[k].tolist())


def _show(panel: pyplot.Axes, image: Tensor, mask: Tensor | None = None) -> None:
    pixels = np.rint(_large(image)[..., None].repeat(3, -1) * 255).astype(np.uint8)
    if mask is not None:
        labels = _large(mask).astype(np.uint8)
        pixels = with_outlines(tinted(pixels, labels), labels)
    panel.imshow(pixels)
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)


def _large(plane: Tensor) -> np.ndarray:
    return plane.numpy().repeat(ENLARGED, 0).repeat(ENLARGED, 1)
