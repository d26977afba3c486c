# SPDX-License-Identifier: Apache-2.0
"""Training windows for a decoder alone: image embeddings in the place of images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flap_sam.data.augment import Augmentation
from flap_sam.data.windows import Windows


@dataclass(frozen=True)
class EmbeddedCase:
    """A case's views, encoded.

    Attributes:
        embeddings: float32 [views, width, S / 16, S / 16].
        windows: int64 [slices, 5], the views in the window centred on each slice.
    """

    embeddings: np.ndarray
    windows: np.ndarray


class EmbeddedWindows:
    """The training windows of `Windows`, each slice already encoded; read as `Windows` is, but not augmented.

    Args:
        windows: those to stand for.
        cases: for each training case, what gives it encoded.
    """

    def __init__(self, windows: Windows, cases: Sequence[Callable[[], EmbeddedCase]]) -> None:
        self._windows = windows
        self._cases = cases

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def foreground(self) -> Tensor:
        return self._windows.foreground

    def batch(
        self, indices: Sequence[int] | Tensor, augmentation: Augmentation | None = None, visits: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Embeddings float32 [b, 5, width, S / 16, S / 16] and labels uint8 [b, 5, S, S].

        Raises:
            ValueError: they are to be augmented.
        """
        if augmentation is not None:
            raise ValueError("windows that are encoded already cannot be augmented")
        found = []
        for number, centre in zip(*self._windows.located(indices), strict=True):
            case = self._cases[number]()
            found.append(case.embeddings[case.windows[centre]])
        return torch.from_numpy(np.stack(found)).to(self._windows.device), self._windows.labels(indices)
