# SPDX-License-Identifier: Apache-2.0
"""Views: the different pictures of its slices that a volume's windows are made of.

Under the normalisation "volume" a slice looks the same in all 5 windows that hold it. Under "window" every window
lays its own range of intensities on 0..1, and a slice has as many views as those windows have different ranges.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flap_sam.data.intensity import CODE_MAXIMUM
from flap_sam.data.windows import check_normalisation, members, resize_images


@dataclass(frozen=True)
class Views:
    """The views of a volume, slice by slice.

    Attributes:
        image: codes uint16 [slices, rows, columns], as stored.
        slices: int64 [v], ascending, the slice that each view shows.
        ranges: int64 [v, 2], the codes that it shows as 0 and as 1.
        windows: int64 [slices, 5], the views in the window centred on each slice.
    """

    image: np.ndarray
    slices: np.ndarray
    ranges: np.ndarray
    windows: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, normalisation: str) -> "Views":
        """The views of a volume [slices, rows, columns] of codes."""
        check_normalisation(normalisation)
        window_slices = members(np.arange(len(image)), len(image))
        shown = np.zeros((*window_slices.shape, 3), np.int64)
        shown[..., 0], shown[..., 2] = window_slices, CODE_MAXIMUM
        if normalisation == "window":
            low, high = np.array([(plane.min(), plane.max()) for plane in image]).T
            shown[..., 1] = low[window_slices].min(1, keepdims=True)
            shown[..., 2] = high[window_slices].max(1, keepdims=True)
        views, places = np.unique(shown.reshape(-1, 3), axis=0, return_inverse=True)
        return cls(image, views[:, 0], views[:, 1:], places.reshape(window_slices.shape))

    def __len__(self) -> int:
        return len(self.slices)

    def shares(self) -> np.ndarray:
        """Of the windows that hold a view's slice, the share that shows it so: float32 [v]."""
        around = np.zeros(len(self), np.int64)
        for window in self.windows:
            around[np.unique(window)] += 1
        return (around / np.bincount(self.slices, around)[self.slices]).astype(np.float32)

    def batches(self, size: int) -> Iterator[slice]:
        """Runs of up to `size` views, or of all views of one slice where these are more; no slice is divided."""
        firsts = np.append(np.unique(self.slices, return_index=True)[1], len(self))
        start = 0
        while start < len(self):
            end = max(firsts[firsts <= start + size].max(), firsts[firsts > start].min())
            yield slice(start, int(end))
            start = int(end)

    def pictures(self, run: slice, side: int, device: torch.device) -> Tensor:
        """A run of views as the network sees them: float32 [k, S, S] in 0..1."""
        wanted, places = np.unique(self.slices[run], return_inverse=True)
        pictures = resize_images(torch.from_numpy(self.image[wanted]).to(device), side)[torch.from_numpy(places)]
        low, high = (torch.from_numpy(self.ranges[run]).float() / CODE_MAXIMUM).to(device)[..., None, None].unbind(1)
        return pictures.sub_(low).div_(torch.where(high > low, high - low, 1.0)).clamp_(0, 1)
