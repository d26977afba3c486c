# SPDX-License-Identifier: Apache-2.0
"""Prediction of a whole volume against what people run: time, memory, and the same masks.

    python benchmarks/inference.py [--backbone vit_b] [--image-size 224] [--slices 8] [--repeat 3]

The baseline is the published evaluation as it is described: a window of 5 slices around every slice, one window a
forward pass, so that every slice goes through the network 5 times; float32; segment_anything's own modules; the
mean probabilities of a slice brought to the volume's grid by scipy's cubic zoom. Ours is `training.predict`, in
float32 and, where the hardware has instructions for it, in bfloat16. Random weights, adapters that do something, a
phantom CT of 512 x 512.

First the probabilities of some slices are computed on the network's grid: how far they are "apart" (ours in float32 at
most 1e-4, or the exit status is 1), and the Dice of the masks there. Random weights make ragged masks, so the two
ways to the volume's grid are compared on the phantom's organs. Then every contender runs in a process of its own, in
turn. "network" is the time in seconds without the way to the volume's grid and its labels; memory is the growth of
the largest resident size, or on a GPU the largest amount allocated.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from aggregation import forget_peak, megabytes
from baseline import Baseline
from contenders import device
from flap_sam.config.experiment import NORMALISATIONS, Experiment
from flap_sam.data.phantoms.abdominal_ct import ABDOMINAL_CT
from flap_sam.data.phantoms.scanner import PhantomSize
from flap_sam.data.sources.kits19 import PUBLISHED, case_id
from flap_sam.data.views import Views
from flap_sam.data.windows import members, resize_images
from flap_sam.sam.adapters import low_rank_pairs
from flap_sam.sam.build import BACKBONES
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.network import FlapSam
from flap_sam.training.evaluate import overlaps
from flap_sam.training.precision import able
from flap_sam.training.predict import predict_volume, volume_logits
from rich.console import Console
from rich.table import Table
from scipy.ndimage import zoom
from torch import Tensor
from torch.nn import functional as F

BASELINE, OURS = "by window", "ours "
PRECISIONS = ("float32", "bfloat16")
MATRIX = 512
TOLERANCE = 1e-4
CHECKED = 6  # slices
EXPECTED = {"volume": 15, "window": 8}


def phantom(slices: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes uint16 [slices, 512, 512], clipped as the site A of Fed-KiTS19 is, and labels."""
    size = PhantomSize(matrix=MATRIX, slices=0, minimum_slices=slices)
    hu, label, _ = ABDOMINAL_CT.draw_case("A", case_id(21), size=size)
    clip = PUBLISHED["A"]
    return np.rint(np.interp(hu, (clip.low, clip.high), (0, 65535))).astype(np.uint16), label


def network(experiment: Experiment) -> FlapSam:
    made, _, _ = network_for(experiment, None)
    draws = torch.Generator().manual_seed(0)
    for _, b in low_rank_pairs(made):
        made.get_parameter(b).data.normal_(std=0.05, generator=draws)
    return made.to(device()).eval()


@torch.no_grad()
def window_by_window(plain: Baseline, image: np.ndarray, experiment: Experiment) -> Tensor:
    """Mean probabilities on the network's grid, float32 [slices, classes + 1, S, S] on the CPU."""
    n, side = len(image), experiment.image_size
    total, count = torch.zeros(n, experiment.classes + 1, side, side), torch.zeros(n, 1, 1, 1)
    for centre in range(n):
        slices = members(np.array([centre]), n)[0]
        codes = torch.from_numpy(image[slices]).to(device())
        window = resize_images(codes, side)
        if experiment.normalisation == "window":
            low, high = (int(edge) / 65535 for edge in (image[slices].min(), image[slices].max()))
            window = ((window - low) / (high - low)).clamp(0, 1)
        found = plain(window[None])[0].softmax(dim=1).cpu()
        own, places = np.unique(slices, return_index=True)
        total[own] += found[places]
        count[own] += 1
    return total / count


def zoomed(mean: Tensor, grid: tuple[int, int]) -> np.ndarray:
    """Labels on the volume's grid by cubic interpolation of every slice's probabilities."""
    factors = (1, *(wanted / there for wanted, there in zip(grid, mean.shape[2:], strict=True)))
    return np.stack([zoom(of_slice, factors, order=3).argmax(axis=0) for of_slice in mean.numpy()]).astype(np.uint8)


def small(image: np.ndarray, side: int) -> np.ndarray:
    """The volume by nearest neighbours on the network's grid."""
    places = np.linspace(0, MATRIX - 1, side).round().astype(int)
    return image[:, places][:, :, places]


class Contender:
    """One way to the label map of a volume."""

    def __init__(self, name: str, experiment: Experiment) -> None:
        self.experiment = experiment
        ours = network(experiment)
        if name == BASELINE:
            plain = Baseline(experiment, ours.state_dict()).to(device()).eval()
            self._found: Callable[[np.ndarray], Tensor] = lambda image: window_by_window(plain, image, experiment)
            self._run = self._in_two_parts
        else:
            settings = experiment, device(), name.removeprefix(OURS)
            self._found = lambda image: torch.cat([x.softmax(1).cpu() for x in volume_logits(ours, image, *settings)])
            self._labels = lambda image: predict_volume(ours, image, *settings)
            self._run = self._in_one

    def check(self, image: np.ndarray, path: Path) -> None:
        np.save(path, self._found(small(image, self.experiment.image_size)).numpy())

    def measure(self, image: np.ndarray) -> dict[str, float]:
        forget_peak()
        before = megabytes("VmRSS")
        self._run(image[:1])
        seconds, network_seconds = self._run(image)
        grown = megabytes("VmHWM") - before if device().type == "cpu" else torch.cuda.max_memory_allocated() / 2**20
        return {"seconds": seconds, "network": network_seconds, "megabytes": grown}

    def _in_two_parts(self, image: np.ndarray) -> tuple[float, float]:
        start = time.perf_counter()
        mean = self._found(image)
        middle = time.perf_counter()
        zoomed(mean, image.shape[1:])
        return time.perf_counter() - start, middle - start

    def _in_one(self, image: np.ndarray) -> tuple[float, float]:
        on_grid = small(image, self.experiment.image_size)
        return timed(lambda: self._labels(image)), timed(lambda: self._found(on_grid))


def least_dice(found: np.ndarray, expected: np.ndarray) -> float:
    """Of the classes that are expected anywhere."""
    return min(o.dice for o in overlaps(found, expected, int(expected.max())) if o.dice is not None)


def interpolations_alike(label: np.ndarray, side: int) -> float:
    """Dice of the two ways from the network's grid to the volume's, for organs as soft as resizing makes them."""
    organs = F.one_hot(torch.from_numpy(label).long()).movedim(-1, 1).float()
    mean = F.interpolate(organs, (side, side), mode="bilinear", antialias=True).clamp(1e-4, 1)
    ours = F.interpolate(mean.log(), label.shape[1:], mode="bilinear").argmax(1)
    return least_dice(ours.numpy(), zoomed(mean, label.shape[1:]))


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(experiment: Experiment, image: np.ndarray, repeat: int) -> tuple[Table, bool]:
    """The table of one normalisation, and whether ours in float32 finds the same probabilities."""
    names = [BASELINE, *(OURS + p for p in PRECISIONS if p in able(device()))]
    with tempfile.TemporaryDirectory() as folder:
        volume = Path(folder) / "image.npy"
        np.save(volume, image)

        def run(name: str, check: str) -> str:
            command = [sys.executable, __file__, "--child", name, experiment.to_json(), str(volume), check]
            return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout

        checks = {}
        for name in names:
            run(name, f"{folder}/check.npy")
            checks[name] = np.load(f"{folder}/check.npy")
        runs: dict[str, list[dict]] = {name: [] for name in names}
        for _ in range(repeat):
            for name in names:
                runs[name].append(json.loads(run(name, "").splitlines()[-1]))
    medians = {name: {k: statistics.median(r[k] for r in found) for k in found[0]} for name, found in runs.items()}
    views = len(Views.of(image, experiment.normalisation))
    table = Table(
        title=f"{experiment.backbone} at {experiment.image_size}, normalised by {experiment.normalisation}; "
        f"{len(image)} slices, {views} views",
    )
    for column in ("", "slices/s", "ratio", "network", "ratio", "peak MB", "apart", "Dice"):
        table.add_column(column, justify="right" if column else "left")
    expected = checks[BASELINE]
    for name, found in medians.items():
        apart = float(np.abs(checks[name] - expected).max())
        alike = least_dice(checks[name].argmax(1), expected.argmax(1))
        table.add_row(
            name,
            f"{len(image) / found['seconds']:.2f}",
            f"{medians[BASELINE]['seconds'] / found['seconds']:.1f}",
            f"{found['network']:.2f}",
            f"{medians[BASELINE]['network'] / found['network']:.1f}",
            f"{found['megabytes']:.0f}",
            f"{apart:.1e}",
            f"{alike:.4f}",
        )
    agree = float(np.abs(checks[OURS + "float32"] - expected).max()) <= TOLERANCE
    return table, agree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=list(BACKBONES), default="vit_b")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--child", nargs=4, metavar=("NAME", "EXPERIMENT", "IMAGE", "CHECK"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        name, experiment, image, check = asked.child
        contender, image = Contender(name, Experiment.from_json(experiment)), np.load(image)
        if check:
            contender.check(image[:CHECKED], Path(check))
        else:
            print(json.dumps(contender.measure(image)))
        return 0
    (image, label), agree = phantom(asked.slices), True
    for normalisation in NORMALISATIONS:
        experiment = Experiment(backbone=asked.backbone, image_size=asked.image_size, normalisation=normalisation)
        table, same = compare(experiment, image, asked.repeat)
        Console().print(table, f"Expected on a CPU at 224: {EXPECTED[normalisation]} or more.\n")
        agree &= same
    alike = interpolations_alike(label, asked.image_size)
    Console().print(f"The phantom's organs at {asked.image_size}, brought to {MATRIX} both ways: Dice {alike:.3f}.")
    return int(not agree)


if __name__ == "__main__":
    raise SystemExit(main())
