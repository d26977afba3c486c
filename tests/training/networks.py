# SPDX-License-Identifier: Apache-2.0
"""Networks without weights, in the form in which prediction uses one."""

import torch
from torch import Tensor


class Threshold(torch.nn.Module):
    """Class 1 where the image is above 0.4, class 2 above 0.7; its embeddings are the pictures themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded = 0

    def encode(self, windows: Tensor) -> Tensor:
        self.encoded += windows.shape[0] * windows.shape[1]
        return windows

    def decode(self, windows: Tensor) -> Tensor:
        return torch.stack([0.4 - windows, (windows - 0.4).clamp(max=0.15), windows - 0.55], dim=2)

    def forward(self, windows: Tensor) -> Tensor:
        return self.decode(self.encode(windows))
