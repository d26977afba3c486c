# SPDX-License-Identifier: Apache-2.0
"""Pictures of drawn shapes with their masks, an endless stream: what the small SAM is pretrained on.

A scene is a textured ground with blobs, rings and tubes before and behind one another, some with parts of their own;
smooth gradients lie over it, then noise, blur and a table of intensities. Nothing in it is an organ: no shape, place or
intensity is taken from anatomy.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

BLOBS, RINGS, TUBES, PARTS = 6, 1, 2, 4
SHAPES = BLOBS + RINGS + TUBES
HARMONICS = 6
PIECES = 10
OCTAVES = (4, 8, 16, 32)


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes.

    Args:
        images: float32 [b, S, S] in 0..1.
        masks: bool [b, m, S, S], what can be pointed at: every shape as far as it is seen, with its parts; every part;
            every shape without its parts; and twice two shapes together. Some are empty.
    """

    images: Tensor
    masks: Tensor


def draw(count: int, side: int, seed: int) -> Scenes:
    """So many scenes of S x S pixels, the same for the same seed."""
    random = _Random(seed)
    grid = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    blobs, rings = _blobs(random, (count, BLOBS), x, y), _rings(random, (count, RINGS), x, y)
    whole = torch.cat([blobs, rings, _tubes(random, (count, TUBES), x, y)], dim=1)
    whole &= (random.unit(count, SHAPES) < random.between(0.3, 1.0, count, 1))[..., None, None]
    order = random.unit(count, SHAPES).argsort(1)
    whole = whole.gather(1, order[..., None, None].expand_as(whole))
    seen = whole & ~_covered(whole)
    owners = random.whole(SHAPES, count, PARTS)
    holders = whole.gather(1, owners[..., None, None].expand(-1, -1, side, side))
    parts = _parts(random, holders, x, y) & seen.gather(1, owners[..., None, None].expand(-1, -1, side, side))
    images = _painted(random, seen, parts, x, y)
    bare = seen & ~parts.any(1, keepdim=True)
    pairs = (seen | seen.roll(1, 1))[:, :2]
    return Scenes(images, torch.cat([seen, parts, bare, pairs], dim=1))


class _Random:
    """Numbers of one seed, in the order of the calls."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def unit(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator)

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * self.unit(*shape)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator)

    def whole(self, below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=self._generator)


def _polar(random: _Random, shape: tuple[int, int], x: Tensor, y: Tensor, centres: Tensor, sizes: Tensor) -> Tensor:
    """Distance from centres [.., 2] in units of an outline that waves around an ellipse: 1 is the outline."""
    turn, squeeze = random.between(0, math.tau, *shape), random.between(0.45, 1, *shape)
    dx, dy = x - centres[..., 0, None, None], y - centres[..., 1, None, None]
    cos, sin = turn.cos()[..., None, None], turn.sin()[..., None, None]
    u, v = (cos * dx + sin * dy), (cos * dy - sin * dx) / squeeze[..., None, None]
    angle = torch.atan2(v, u)
    outline = torch.ones_like(angle)
    rough = random.between(0.0, 0.35, *shape)
    for m in range(1, HARMONICS + 1):
        size, phase = rough * random.normal(*shape) / m, random.between(0, math.tau, *shape)
        outline += size[..., None, None] * (m * angle + phase[..., None, None]).cos()
    return torch.hypot(u, v) / (sizes[..., None, None] * outline.clamp_min(0.2))


def _blobs(random: _Random, shape: tuple[int, int], x: Tensor, y: Tensor) -> Tensor:
    sizes = 0.04 * (0.4 / 0.04) ** random.unit(*shape)
    return _polar(random, shape, x, y, random.between(0.05, 0.95, *shape, 2), sizes) < 1


def _rings(random: _Random, shape: tuple[int, int], x: Tensor, y: Tensor) -> Tensor:
    sizes, thickness = random.between(0.1, 0.45, *shape), random.between(0.08, 0.3, *shape)
    away = _polar(random, shape, x, y, random.between(0.2, 0.8, *shape, 2), sizes)
    return (away < 1) & (away > 1 - thickness[..., None, None])


def _tubes(random: _Random, shape: tuple[int, int], x: Tensor, y: Tensor) -> Tensor:
    """All that lies within half a width of a curve of third order, in straight pieces; the width changes along it."""
    corners = [random.between(*bounds, *shape, 2) for bounds in ((-0.1, 1.1), (0, 1), (0, 1), (-0.1, 1.1))]
    widths = random.between(0.01, 0.06, *shape, 2)
    inside = torch.zeros(*shape, *x.shape, dtype=torch.bool)
    for t in torch.arange(PIECES) / PIECES:
        near, far = _on_curve(corners, t), _on_curve(corners, t + 1 / PIECES)
        width = (1 - t) * widths[..., 0] + t * widths[..., 1]
        inside |= _squared_distance(x, y, near, far) < (width * width)[..., None, None]
    return inside


def _on_curve(corners: list[Tensor], t: Tensor) -> Tensor:
    """The place [.., 2] on a Bezier curve of third order."""
    shares = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
    first, *others = (share * corner for share, corner in zip(shares, corners, strict=True))
    return sum(others, first)


def _squared_distance(x: Tensor, y: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """Of every pixel from a straight piece: [.., S, S]."""
    near, along = near[..., None, None], (far - near)[..., None, None]
    dx, dy = x - near[..., 0, :, :], y - near[..., 1, :, :]
    ax, ay = along[..., 0, :, :], along[..., 1, :, :]
    share = ((dx * ax + dy * ay) / (ax * ax + ay * ay).clamp_min(1e-9)).clamp(0, 1)
    dx, dy = dx - share * ax, dy - share * ay
    return dx * dx + dy * dy


def _parts(random: _Random, holders: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Blobs within shapes [b, k, S, S]."""
    shape = holders.shape[0], holders.shape[1]
    area = holders.flatten(2).sum(2)
    weight = holders.flatten(2).float() + 1e-9
    places = (weight.cumsum(2) > (random.unit(*shape) * weight.sum(2))[..., None]).float().argmax(2)
    side = x.shape[-1]
    centres = torch.stack([places % side, places // side], dim=-1) / side
    sizes = random.between(0.25, 0.8, *shape) * (area / math.pi).sqrt() / side
    return holders & (_polar(random, shape, x, y, centres, sizes.clamp_min(0.02)) < 1)


def _covered(whole: Tensor) -> Tensor:
    """What later shapes [b, k, S, S] hide of each."""
    behind = whole.flip(1).cumsum(1).flip(1) - whole.long()
    return behind > 0


def _painted(random: _Random, seen: Tensor, parts: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Intensities of the ground, the shapes and their parts, a texture each, then all that a scanner adds."""
    count, side = len(seen), x.shape[-1]
    image = random.unit(count, 1, 1) + random.between(0, 0.25, count, 1, 1) * _texture(random, count, side)
    for layer in (*seen.unbind(1), *parts.unbind(1)):
        tone, grain = random.unit(count, 1, 1), random.between(0, 0.2, count, 1, 1) ** 1.5
        image = torch.where(layer, tone + grain * _texture(random, count, side), image)
    slope = random.normal(count, 2, 1, 1) * 0.15
    image = image + slope[:, 0] * (x - 0.5) + slope[:, 1] * (y - 0.5)
    image = _blurred(random, image)
    image = image + random.between(0, 0.12, count, 1, 1) * random.normal(count, side, side)
    return _windowed(random, image)


def _texture(random: _Random, count: int, side: int) -> Tensor:
    """Smooth noise [b, S, S] of spread about 1, of grains of several sizes."""
    field = torch.zeros(count, 1, side, side)
    for cells, share in zip(OCTAVES, random.unit(len(OCTAVES), count), strict=True):
        coarse = random.normal(count, 1, cells, cells)
        field += share[:, None, None, None] * F.interpolate(coarse, size=(side, side), mode="bilinear")
    return field[:, 0]


def _blurred(random: _Random, image: Tensor) -> Tensor:
    """Between sharp and the mean of 3 x 3 pixels, scene by scene."""
    soft = F.avg_pool2d(image[:, None], 3, stride=1, padding=1, count_include_pad=False)[:, 0]
    share = random.unit(len(image), 1, 1)
    return (1 - share) * image + share * soft


def _windowed(random: _Random, image: Tensor) -> Tensor:
    """A table of intensities: a window of the range, a curve within it, half of them turned to the negative."""
    flat = image.flatten(1)
    low = torch.quantile(flat, 0.01, dim=1)
    high = torch.quantile(flat, 0.99, dim=1)
    span = (high - low).clamp_min(1e-3)
    low, span = low + random.between(-0.1, 0.15, len(image)) * span, span * random.between(0.7, 1.1, len(image))
    image = ((image - low[:, None, None]) / span[:, None, None]).clamp(0, 1)
    image = image ** torch.exp(random.between(-0.7, 0.7, len(image), 1, 1))
    return torch.where(random.unit(len(image), 1, 1) < 0.5, image, 1 - image)
