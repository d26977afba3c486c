# SPDX-License-Identifier: Apache-2.0
"""SAM's layers on feature maps, for maps with the channels last: the same parameters, the same numbers."""

from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F


def layer_norm(norm: LayerNorm2d, x: Tensor) -> Tensor:
    """SAM's norm over the channels, for x [..., c]."""
    return F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps)


class Doubling(nn.ConvTranspose2d):
    """A 2x2 transposed convolution of stride 2: every pixel becomes four, by one linear map."""

    bias: nn.Parameter  # never None

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, kernel_size=2, stride=2)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override] # the output's size leaves no choice here
        """Pixels [b, n, before] to [b, 4 n, after]: the four that come of one lie side by side, row by row."""
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        return F.linear(x, weight, self.bias.repeat(4)).view(x.shape[0], -1, self.out_channels)


class PixelNorm(LayerNorm2d):
    """SAM's norm over the channels, for pixels [..., c]."""

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(self, x)


def in_image_order(x: Tensor, height: int, width: int, doublings: int) -> Tensor:
    """Pixels that came of doublings of a map of height x width, to their places.

    Args:
        x: [b, height * width * 4^doublings, k], in the order that `Doubling` leaves them in.

    Returns:
        [b, k, height * 2^doublings, width * 2^doublings].
    """
    b, _, k = x.shape
    x = x.view(b, height, width, *[2] * (2 * doublings), k)
    rows, columns = range(3, x.dim() - 1, 2), range(4, x.dim() - 1, 2)
    return x.permute(0, -1, 1, *rows, 2, *columns).reshape(b, k, height << doublings, width << doublings)
