# SPDX-License-Identifier: Apache-2.0
"""Augmentation of windows: what is drawn for each, and how it is applied to a batch of them.

The operations and their ranges are MA-SAM's, as the paper (arXiv 2407.21739) takes them over. Each with
probability 0.5: one of the seven flips and quarter turns; a rotation of up to 15 degrees; gamma; erasing of
2 to 5 % of the area. Then two of shear, scale, translate, posterize, contrast, brightness, sharpness and
identity. All 5 slices of a window get the same transform. The source leaves the range of gamma open: here it
is nnU-Net's, 0.7 to 1.5.

A window's draw is a function of seed, round, epoch, case, slice and visit alone: the stream that begins at
their hash (see `stream`). All geometry is one affine, composed in the frame of the
S x S image, x and y from -1 to 1, and it samples the stored grid directly: there is one resampling.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from flap_sam.data.stream import Stream, mixed, stable_number, uniform

PROBABILITY = 0.5
CHOICES = ("shear", "scale", "translate", "posterize", "contrast", "brightness", "sharpness", "identity")
CHOSEN = 2


@dataclass(frozen=True)
class Parameters:
    """What happens to each of b windows, on the CPU.

    Args:
        symmetry: int64 [b]; 0 nothing, else quarter turns + 4 where the window is mirrored first.
        angle: [b], degrees. shear: [b, 2], along x by y and along y by x. scale: [b].
        translate: [b, 2], x and y in sides of the image.
        gamma: [b], the exponent of the intensities.
        erased: [b, 4], top, left, height and width of the erased box, in sides of the image.
        bits: [b] of 8 that posterizing keeps; 0 for no posterizing.
        contrast, brightness, sharpness: [b], factors; 1 changes nothing.
        noise: int64 [b], where the noise that fills the erased box begins.
    """

    symmetry: Tensor
    angle: Tensor
    shear: Tensor
    scale: Tensor
    translate: Tensor
    gamma: Tensor
    erased: Tensor
    bits: Tensor
    contrast: Tensor
    brightness: Tensor
    sharpness: Tensor
    noise: Tensor

    @classmethod
    def none(cls, b: int) -> "Parameters":
        """Those that change nothing."""
        whole, zeros, ones = torch.zeros(b, dtype=torch.int64), torch.zeros(b), torch.ones(b)
        return cls(
            symmetry=whole,
            angle=zeros,
            shear=torch.zeros(b, 2),
            scale=ones,
            translate=torch.zeros(b, 2),
            gamma=ones,
            erased=torch.zeros(b, 4),
            bits=zeros,
            contrast=ones,
            brightness=ones,
            sharpness=ones,
            noise=whole,
        )

    def __getitem__(self, rows: list[int]) -> "Parameters":
        """Those of some of the windows."""
        return Parameters(**{name: values[rows] for name, values in vars(self).items()})

    def affine(self) -> Tensor:
        """[b, 2, 3]: from a point (x, y, 1) of the augmented image to the point (x, y) it is taken from.

        A window is mirrored and turned, rotated, sheared, scaled and translated, in this order; this is the
        inverse. It is exactly the identity where none of them happens.
        """
        turns, mirrored = self.symmetry % 4, self.symmetry >= 4
        forward = torch.diag_embed(torch.stack([1 - 2.0 * mirrored, torch.ones_like(self.scale)], 1)).double()
        forward = _rotation(math.pi / 2 * turns).round() @ forward
        forward = _rotation(torch.deg2rad(self.angle)) @ forward
        forward = (torch.eye(2) + torch.diag_embed(self.shear).flip(2)).double() @ forward
        inverse = torch.linalg.inv(self.scale.double()[:, None, None] * forward)
        shift = inverse @ (2 * self.translate.double())[:, :, None]
        return torch.cat([inverse, -shift], 2).float()


def _rotation(angle: Tensor) -> Tensor:
    cos, sin = angle.double().cos(), angle.double().sin()
    return torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of one local epoch; another round or epoch draws anew."""

    seed: int
    round: int
    epoch: int = 0

    def draw(self, cases: Sequence[str], slices: Tensor, visits: Tensor) -> Parameters:
        """The parameters of b windows, each drawn without a look at the others.

        Args:
            cases: the id of each window's case.
            slices: int64 [b], the number of its central slice within the case.
            visits: int64 [b], how often the window was seen in this epoch before.
        """
        streams = {case: stable_number(self.seed, self.round, self.epoch, case) for case in set(cases)}
        keys = torch.tensor([streams[case] for case in cases], dtype=torch.int64)
        return _drawn(Stream(mixed(mixed(keys + slices) + visits)))


def _drawn(draw: Stream) -> Parameters:
    neutral = Parameters.none(len(draw.keys))
    turned, rotated, gamma, erased = (draw.unit(4) < PROBABILITY).unbind(1)
    rank = draw.unit(len(CHOICES)).argsort(1).argsort(1)
    choice = dict(zip(CHOICES, (rank < CHOSEN).unbind(1), strict=True))

    def where(applied: Tensor, values: Tensor, otherwise: Tensor) -> Tensor:
        applied = applied.view(-1, *[1] * (values.dim() - 1))
        return torch.where(applied, values.to(otherwise.dtype), otherwise)

    return Parameters(
        symmetry=where(turned, draw.between(1, 8), neutral.symmetry),
        angle=where(rotated, draw.between(-15, 15), neutral.angle),
        gamma=where(gamma, draw.between(math.log(0.7), math.log(1.5)).exp(), neutral.gamma),
        erased=where(erased, _box(draw), neutral.erased),
        shear=where(choice["shear"], draw.between(-0.3, 0.3, 2), neutral.shear),
        scale=where(choice["scale"], draw.between(0.8, 1.2), neutral.scale),
        translate=where(choice["translate"], draw.between(-0.2, 0.2, 2), neutral.translate),
        bits=where(choice["posterize"], draw.between(4, 9).floor(), neutral.bits),
        contrast=where(choice["contrast"], draw.between(0.7, 1.3), neutral.contrast),
        brightness=where(choice["brightness"], draw.between(0.7, 1.3), neutral.brightness),
        sharpness=where(choice["sharpness"], draw.between(0.1, 1.9), neutral.sharpness),
        noise=draw.keys,
    )


def _box(draw: Stream) -> Tensor:
    """2 to 5 % of the area; height to width from 0.3 to 1 / 0.3 (Zhong et al. 2020); anywhere inside."""
    area, ratio = draw.between(0.02, 0.05), draw.between(math.log(0.3), -math.log(0.3)).exp()
    size = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], 1)
    return torch.cat([draw.unit(2) * (1 - size), size], 1)


def reduced(images: Tensor, side: int) -> Tensor:
    """Slices [n, H, W] averaged over blocks, [n, H // k, W // l], k and l as large as S x S allows.

    Sampling by bilinear interpolation sees 2 x 2 pixels. From 512 to 224 it would miss most of the others and
    make texture of noise; from blocks of 2 x 2 it misses few, and blurs as much as the antialiased resizing of
    windows that do not move. Of white noise it keeps 33 % of the deviation, that resizing 29 %, both after one
    another 22 %, sampling straight from 512 67 % (benchmarks/data.py).
    """
    for dim in (1, 2):
        k = _block(images.shape[dim], side)
        if k > 1:
            blocks = images.narrow(dim, 0, images.shape[dim] // k * k).movedim(dim, 0)
            images = sum((blocks[i::k] for i in range(1, k)), blocks[::k]).div_(k).movedim(0, dim)
    return images


def _block(size: int, side: int) -> int:
    return max(1, size // side)


def sample(images: Tensor, labels: Tensor, affine: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Windows [b, 5, S, S] through an affine: images bilinear, labels of the nearest pixel, 0 from outside.

    Args:
        images: float32 [b, 5, h, w], the stored slices after `reduced`.
        labels: uint8 [b, 5, H, W], as stored.
        affine: [b, 2, 3], see `Parameters.affine`.
    """
    height, width = labels.shape[2:]
    stored = affine.new_tensor([width, height]).view(2, 1, 1, 1)
    # Blocks may leave a rest at the right and bottom: what they cover is that much smaller than the slice.
    covered = affine.new_tensor([images.shape[3] * _block(width, side), images.shape[2] * _block(height, side)])
    places = _places(affine, side).add_(1).mul_(stored / 2)
    grid = (places * (2 / covered.view_as(stored))).sub_(1).permute(1, 2, 3, 0)
    sampled = grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled, _nearest(labels, *places.floor_())


def _nearest(labels: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Labels at pixels [b, S, S]; in float32 a pixel's number is exact up to slices of 4096 x 4096."""
    height, width = labels.shape[2:]
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel = row.mul_(width).add_(column).mul_(inside).long().flatten(1)[:, None]
    found = labels.flatten(2).gather(2, pixel.expand(-1, labels.shape[1], -1))
    return found.view(*labels.shape[:2], *inside.shape[1:]).mul_(inside[:, None])


def _places(affine: Tensor, side: int) -> Tensor:
    """x and y, [2, b, S, S], that the pixels of the augmented image are taken from."""
    centres = (torch.arange(side, device=affine.device) * 2 + 1) / side - 1
    along_x, along_y, shift = affine.permute(2, 1, 0)[..., None, None]
    return along_x * centres + along_y * centres[:, None] + shift


def adjust(images: Tensor, labels: Tensor, parameters: Parameters) -> None:
    """Change intensities and erase, in place.

    Args:
        images: float32 [b, 5, S, S] in 0..1, and stays so. labels: [b, 5, S, S].
    """
    _change(images, parameters.gamma, 1, _power)
    _erase(images, labels, parameters)
    _change(images, parameters.bits, 0, _posterized)
    _change(images, parameters.contrast, 1, _contrasted)
    _change(images, parameters.brightness, 1, Tensor.mul)
    _change(images, parameters.sharpness, 1, _sharpened)


def _change(images: Tensor, amounts: Tensor, neutral: float, operation: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Put the windows whose amount is not neutral through an operation."""
    rows = (amounts != neutral).nonzero()[:, 0]
    if len(rows):
        amounts = amounts[rows].to(images.device).view(-1, 1, 1, 1)
        rows = rows.to(images.device)
        images.index_copy_(0, rows, operation(images.index_select(0, rows), amounts).clamp_(0, 1))


def _power(images: Tensor, exponent: Tensor) -> Tensor:
    return images.log2().mul_(exponent).exp2_()  # in half the time of pow


def _posterized(images: Tensor, bits: Tensor) -> Tensor:
    step = torch.exp2(8 - bits)
    return images.mul(255).div_(step).floor_().mul_(step).div_(255)


def _contrasted(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the window's mean, or towards it."""
    return images.lerp(images.mean((1, 2, 3), keepdim=True), 1 - factor)


def _sharpened(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the image smoothed by (1 1 1, 1 5 1, 1 1 1) / 13, or towards it; the outermost pixels stay."""
    rows = images[..., :-2, :] + images[..., 1:-1, :] + images[..., 2:, :]
    inner = images[..., 1:-1, 1:-1]
    smooth = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * inner) / 13
    inner.copy_(smooth.lerp_(inner, factor))
    return images


def _erase(images: Tensor, labels: Tensor, parameters: Parameters) -> None:
    """Fill each window's box with noise, the same in its 5 slices, and with label 0."""
    rows = (parameters.erased[:, 2] > 0).nonzero()[:, 0]
    side = images.shape[-1]
    centres = (torch.arange(side) + 0.5) / side
    start, size = parameters.erased[rows].view(-1, 2, 2, 1).unbind(1)
    inside = (centres >= start) & (centres < start + size)
    chosen, y, x = (inside[:, 0, :, None] & inside[:, 1, None, :]).nonzero(as_tuple=True)
    # The draws of the parameters take the stream's first numbers; the pixels' places begin far behind them.
    noise = uniform(parameters.noise[rows][chosen], 2**20 + y * side + x).float()
    window, y, x, noise = (part.to(images.device) for part in (rows[chosen], y, x, noise))
    images[window, :, y, x] = noise[:, None]
    labels[window, :, y, x] = 0
