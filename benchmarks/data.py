# SPDX-License-Identifier: Apache-2.0
"""How many augmented windows one core makes in a second, beside the common practice, and what sampling keeps.

Synthetic cases of 512 x 512 pixels are written twice into a temporary folder: as a site store, and as one pickle
a slice. The common practice loads a window's 5 pickles and puts each slice through the same operations, one after
the other (rotation by scipy without interpolation, the rest by PIL and numpy), then zooms it to 224 pixels by
cubic splines (labels: nearest). Both are timed in turns, in seconds of one core's work.

    python benchmarks/data.py
"""

import argparse
import math
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from flap_sam.config.experiment import WINDOW_SLICES
from flap_sam.data.augment import Augmentation, Parameters, reduced, sample
from flap_sam.data.intensity import CODE_MAXIMUM, SiteIntensity
from flap_sam.data.manifest import Draft, Manifest, Recipe
from flap_sam.data.store import ARRAYS, SiteStore, write_case, write_manifest
from flap_sam.data.windows import Windows, epoch_order
from PIL import Image, ImageEnhance, ImageOps
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

try:
    from scipy.ndimage import rotate, zoom
except ImportError:
    raise SystemExit("The baseline needs scipy: pip install -r requirements-dev.txt") from None

STORED, SIDE = 512, 224
CORES, WANTED = 8, 200  # cores a site has for its data, windows a second that a GPU takes
LEAST_RATIO = 15
EYE = tuple(map(tuple, np.eye(4).tolist()))


def write_cases(folder: Path, cases: int, slices: int) -> Path:
    """STORE/A with its cases, and beside it SLICES/<n>.pkl with an image in 0..1 and its label."""
    rng, pickles, written = np.random.default_rng(0), folder / "slices", []
    pickles.mkdir()
    intensity = SiteIntensity(low=-100.0, high=300.0, mean=100.0, std=60.0)
    recipe = Recipe(source="made", classes=("organ",), any_label=False, minimum_side=0, intensity=intensity)
    y, x = np.mgrid[-1 : 1 : STORED * 1j, -1 : 1 : STORED * 1j]
    for n in range(cases):
        centre = rng.uniform(-0.5, 0.5, (2, 1, 1, 1))
        radius = rng.uniform(0.1, 0.4, (slices, 1, 1))
        label = (np.hypot(y - centre[0], x - centre[1]) < radius).astype(np.uint8)
        image = (0.3 + 0.4 * label + 0.05 * rng.standard_normal(label.shape)).clip(0, 1).astype(np.float32)
        for plane, (pixels, classes) in enumerate(zip(image, label, strict=True)):
            (pickles / f"{n * slices + plane}.pkl").write_bytes(pickle.dumps({"image": pixels, "label": classes}))
        draft = Draft(
            id=f"case_{n}",
            split="train",
            shape=label.shape,
            spacing=(3.0, 0.8, 0.8),
            affine=EYE,
            original_shape=label.shape,
            minimum=-100.0,
            maximum=300.0,
        )
        codes = np.rint(image * CODE_MAXIMUM).astype(np.uint16)
        written.append(write_case(folder / "store" / "A" / ARRAYS, draft, codes, label, recipe))
    write_manifest(folder / "store", Manifest(**dict(recipe), site="A", cases=tuple(written)))
    return pickles


@dataclass(frozen=True)
class PerSlice:
    """The common practice: one slice at a time, every operation by itself."""

    pickles: Path
    slices: int

    def batch(self, indices: list[int], parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Images float32 and labels uint8, [b, 5, S, S]."""
        made = [self.window(index, parameters[[row]]) for row, index in enumerate(indices)]
        images, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*made, strict=True))
        return images, labels

    def window(self, index: int, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
        """Images float32 and labels uint8, [5, S, S]; `parameters` hold one window."""
        first = index // self.slices * self.slices
        rng = np.random.default_rng(index)
        places = np.clip(np.arange(index - 2, index + 3), first, first + self.slices - 1)
        made = [self._slice(int(place), parameters, rng) for place in places]
        return np.stack([image for image, _ in made]), np.stack([label for _, label in made])

    def _slice(self, place: int, chosen: Parameters, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        stored = pickle.loads((self.pickles / f"{place}.pkl").read_bytes())  # noqa: S301  written above
        image, label = turned(stored["image"], chosen), turned(stored["label"], chosen)
        if chosen.angle.any():
            degrees = chosen.angle.item()
            image, label = (rotate(array, degrees, order=0, reshape=False) for array in (image, label))
        if (chosen.gamma != 1).any():
            image = image ** chosen.gamma.item()
        if chosen.erased.any():
            top, left, height, width = (chosen.erased[0] * STORED).round().int().tolist()
            image[top : top + height, left : left + width] = rng.random((height, width))
            label[top : top + height, left : left + width] = 0
        picture, classes = Image.fromarray((image * 255).astype(np.uint8)), Image.fromarray(label)
        for matrix in matrices(chosen):
            picture = picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
            classes = classes.transform(classes.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)
        image = np.asarray(enhanced(picture, chosen), dtype=np.float32) / 255
        scale = SIDE / STORED
        return zoom(image, scale, order=3), zoom(np.asarray(classes), scale, order=0)


def turned(array: np.ndarray, chosen: Parameters) -> np.ndarray:
    turns, mirrored = chosen.symmetry.item() % 4, chosen.symmetry.item() >= 4
    return np.rot90(np.flip(array, 1) if mirrored else array, turns).copy()


def matrices(chosen: Parameters) -> list[tuple[float, ...]]:
    """The affines that PIL applies one after the other, each a resampling."""
    (along_x, along_y), (right, down) = chosen.shear[0].tolist(), (chosen.translate[0] * STORED).tolist()
    shrink, half = 1 / chosen.scale.item(), STORED / 2
    found = []
    if along_x or along_y:
        found.append((1, along_x, -along_x * half, along_y, 1, -along_y * half))
    if shrink != 1:
        found.append((shrink, 0, half * (1 - shrink), 0, shrink, half * (1 - shrink)))
    if right or down:
        found.append((1, 0, -right, 0, 1, -down))
    return found


def enhanced(picture: Image.Image, chosen: Parameters) -> Image.Image:
    if chosen.bits.any():
        picture = ImageOps.posterize(picture, int(chosen.bits.item()))
    for enhancer, factor in (
        (ImageEnhance.Contrast, chosen.contrast.item()),
        (ImageEnhance.Brightness, chosen.brightness.item()),
        (ImageEnhance.Sharpness, chosen.sharpness.item()),
    ):
        if factor != 1:
            picture = enhancer(picture).enhance(factor)
    return picture


def seconds(make: Callable[[], object]) -> float:
    start = time.process_time()
    make()
    return time.process_time() - start


def throughput(folder: Path, cases: int, slices: int, turns: int, batch: int) -> tuple[float, float]:
    """Windows a second on one thread, medians over the turns: this package, the common practice."""
    practice = PerSlice(write_cases(folder, cases, slices), slices)
    windows = Windows(SiteStore.open(folder / "store", "A"), SIDE)
    ours, theirs = [], []
    for turn in range(-1, turns):  # the first turn warms up
        order, augmentation = epoch_order(len(windows), 0, turn, 0), Augmentation(0, turn)
        batches = order[: 4 * batch].split(batch)
        # Both draw alike; the common practice has its draws for nothing.
        drawn = augmentation.draw(
            [f"case_{n // slices}" for n in order.tolist()], order % slices, torch.zeros_like(order)
        )
        few = batches[0].tolist()
        mine = seconds(lambda: [windows.batch(indices, augmentation) for indices in batches])  # noqa: B023
        other = seconds(lambda: practice.batch(few, drawn))  # noqa: B023
        if turn >= 0:
            ours.append(sum(map(len, batches)) / mine)
            theirs.append(len(few) / other)
    return statistics.median(ours), statistics.median(theirs)


def ways(stored: Tensor, affine: Tensor) -> dict[str, Tensor]:
    """Stored slices [5, 512, 512], moved and resized in three ways to [5, S, S]."""

    def sampled(images: Tensor, grid: int) -> Tensor:
        labels = torch.zeros(1, WINDOW_SLICES, grid, grid, dtype=torch.uint8)
        return sample(images[None], labels, affine, SIDE)[0][0]

    small = interpolate(stored[None], (SIDE, SIDE), mode="bilinear", antialias=True)[0]
    blocks = reduced(stored, SIDE)
    return {
        "sampled from 512": grid_sample(
            stored[None], affine_grid(affine, [1, 1, SIDE, SIDE], False), align_corners=False
        )[0],
        "2 x 2 averages sampled (ours)": sampled(blocks, STORED),
        "resized, then sampled": sampled(small, SIDE),
        "resized, not moved": small,
    }


def pattern(cycles: int) -> Tensor:
    """Stripes of deviation 1, so many in the width."""
    columns = (torch.arange(STORED) + 0.5) / STORED
    return (math.sqrt(2) * torch.sin(2 * math.pi * cycles * columns)).expand(WINDOW_SLICES, STORED, -1)


def sampling_table() -> Table:
    table = Table("rotated by 7 degrees", title="Deviation kept from 512 to 224, in %", title_justify="left")
    affine = replace(Parameters.none(1), angle=torch.tensor([7.0])).affine()
    noise = torch.randn(WINDOW_SLICES, STORED, STORED, generator=torch.Generator().manual_seed(0))
    inputs = {
        "noise": noise,
        "28 stripes": pattern(28),
        "56 stripes": pattern(56),
        "168 stripes": pattern(168),
    }
    rows: dict[str, list[str]] = {}
    for name, stored in inputs.items():
        table.add_column(name, justify="right")
        for way, images in ways(stored, affine).items():
            rows.setdefault(way, []).append(f"{100 * images[:, 40:-40, 40:-40].std():.0f}")
    for way, kept in rows.items():
        table.add_row(way, *kept)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5, help="timings of each, one after the other")
    parser.add_argument("--batch", type=int, default=16, help="windows that both make at once")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = throughput(Path(folder), cases=6, slices=20, turns=arguments.turns, batch=arguments.batch)
    table = Table("one core, medians", title="Augmented windows, 512 to 224", title_justify="left")
    for heading in ("windows a second", "ms a window", f"x {CORES} cores", f"of {WANTED} for a GPU"):
        table.add_column(heading, justify="right")
    for name, rate in (("this package", ours), ("pickles, PIL, scipy", theirs)):
        share = f"{100 * rate * CORES / WANTED:.0f} %"
        table.add_row(name, f"{rate:.1f}", f"{1000 / rate:.1f}", f"{rate * CORES:.0f}", share)
    console = Console()
    console.print(table)
    console.print(f"Ratio of medians {ours / theirs:.1f}, expected {LEAST_RATIO} or more.\n")
    console.print(sampling_table())


if __name__ == "__main__":
    main()
