# SPDX-License-Identifier: Apache-2.0
"""Organs of prepared cases, to be asked for one by one."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from flap_sam.data.pool import PooledStore
from flap_sam.data.store import SiteStore
from flap_sam.data.windows import resize_images, resize_labels
from flap_sam.pretraining.pretrain import SMALLEST, Asked


def organs(store: SiteStore | PooledStore, organ: int, side: int) -> Iterator[tuple[Tensor, Asked]]:
    """The test cases' slices, case by case, and the parts of an organ in them: a left and a right kidney are two.

    Args:
        organ: its label; side: S, of the slices as the network sees them. Parts of fewer than 16 pixels there, and
            cases without any other, are left out.

    Yields:
        Images float32 [slices, S, S] in 0..1, and the masks.
    """
    for case in store.cases("test"):
        labels = resize_labels(torch.from_numpy(np.array(store.label(case))), side)
        parts = [_parts(plane) for plane in labels == organ]
        scene = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(masks) for masks in parts]))
        if len(scene):
            yield resize_images(torch.from_numpy(np.array(store.image(case))), side), Asked(torch.cat(parts), scene)


def _parts(plane: Tensor) -> Tensor:
    """What hangs together in a mask [S, S] and is large enough: bool [n, S, S]."""
    numbered, count = ndimage.label(plane)
    parts = torch.from_numpy(numbered) == torch.arange(1, count + 1)[:, None, None]
    return parts[parts.flatten(1).sum(1) >= SMALLEST]
