"""A picture of what networks answer to a point."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from flap_sam.data.picture import tinted, with_outlines
from flap_sam.files import replacing
from flap_sam.pretraining.examine import examine, favourite
from flap_sam.pretraining.loss import overlap
from flap_sam.pretraining.network import PromptableSam, enlarged
from flap_sam.pretraining.pretrain import Asked
from flap_sam.pretraining.prompts import points_for
from matplotlib import pyplot
from torch import Tensor

ENLARGED = 2  # so that outlines are fine lines
POINT = "#00e0ff"

Questions = Sequence[tuple[Tensor, Asked]]


def draw(kinds: Mapping[str, Questions], networks: Mapping[str, PromptableSam], path: Path) -> None:
    """A row for each kind of mask: the image with the point, the truth, and every network's answer.

    A row's mask is the one for which the last network's overlap is in the middle of all of its kind.
    """
    *_, judge = networks.values()
    mpl.use("Agg")
    size = len(kinds), 2 + len(networks)
    figure, panels = pyplot.subplots(*size, figsize=(1.9 * size[1], 1.95 * size[0]), layout="constrained")
    for row, (kind, questions) in zip(panels, kinds.items(), strict=True):
        image, asked = _middle(questions, examine(judge, questions)["a point"])
        prompts = points_for(asked.masks, torch.Generator().manual_seed(0))
        truth = asked.masks[0]
        _show(row[0], image)
        row[0].plot(*(ENLARGED * prompts.points[0, 0]), "o", color=POINT, markeredgecolor="black", markersize=6)
        row[0].set_ylabel(kind)
        _show(row[1], image, truth)
        for panel, network in zip(row[2:], networks.values(), strict=True):
            with torch.no_grad():
                answer = enlarged(favourite(*network(network.image_encoder(image[None]), prompts, None)))[0]
            _show(panel, image, answer > 0)
            panel.set_xlabel(f"IoU {overlap(answer, truth.float()):.2f}")
    for panel, title in zip(panels[0], ("image and point", "truth", *networks), strict=True):
        panel.set_title(title)
    with replacing(path) as stream:
        figure.savefig(stream, format="png", dpi=110, pil_kwargs={"optimize": True})


def _middle(questions: Iterable[tuple[Tensor, Asked]], overlaps: Tensor) -> tuple[Tensor, Asked]:
    """The image [S, S] and the mask whose overlap is the median."""
    masks = [(images[scene], mask) for images, a in questions for scene, mask in zip(a.scene, a.masks, strict=True)]
    image, mask = masks[overlaps.argsort()[len(overlaps) // 2]]
    return image, Asked(mask[None], torch.zeros(1, dtype=torch.int64))


def _show(panel: pyplot.Axes, image: Tensor, mask: Tensor | None = None) -> None:
    pixels = np.rint(_large(image)[..., None].repeat(3, -1) * 255).astype(np.uint8)
    if mask is not None:
        labels = _large(mask).astype(np.uint8)
        pixels = with_outlines(tinted(pixels, labels), labels)
    panel.imshow(pixels, interpolation="nearest")
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)


def _large(plane: Tensor) -> np.ndarray:
    return plane.numpy().repeat(ENLARGED, 0).repeat(ENLARGED, 1)
