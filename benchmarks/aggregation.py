# SPDX-License-Identifier: Apache-2.0
"""The server's aggregation of SAM's low-rank pairs against what people run: time, memory, error.

    python benchmarks/aggregation.py [--sites 6 64 256 1000] [--ranks 4 32] [--repeat 3]

The updates are those of `flap_sam` on vit_b: 24 pairs in the image encoder, 14 in the mask decoder. Against
ours stand, each as one would plainly write it, over all sites' updates held in memory:

    dense SVD     dW += w B A site by site, then the full SVD, layer by layer, float32
    randomised    the same sum, then torch.svd_lowrank, float32
    stacked       QR of the stacked factors of all sites, SVD of the core, layer by layer, float32 and float64

Ours takes the sites in blocks of 32 and drops them. Making the updates is not timed. Every contender runs in a
process of its own, in turn; memory is the growth of its largest resident size. The excess is how much larger the
error of the rank-r result is than the optimum's, the distance that of the result from the optimum, both relative.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from flap_sam.config.experiment import Experiment
from flap_sam.lowrank.aggregate import RunningSum
from flap_sam.lowrank.factors import Factors, stack
from flap_sam.lowrank.refactorise import refactorise
from flap_sam.rounds.aggregate import BLOCK_SITES, groups_of
from flap_sam.sam.build import build
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor

SiteUpdate = dict[str, tuple[Tensor, Tensor]]  # A and B by layer
LARGE = 100  # sites; beyond, one run of each is enough


def shapes(rank: int) -> list[list[tuple[str, tuple[int, int], tuple[int, int]]]]:
    """The layers in groups of one shape: name, shape of A, shape of B."""
    network = build(Experiment(backbone="vit_b", image_size=224, rank=rank))
    parameters = dict(network.named_parameters())
    return [
        [(p, tuple(parameters[f"{p}.A"].shape), tuple(parameters[f"{p}.B"].shape)) for p in group.layers]
        for group in groups_of(network)
    ]


def updates(rank: int, sites: range) -> Iterator[SiteUpdate]:
    """Sites that share most of their factors, as after a round from a common payload."""
    layers = [layer for group in shapes(rank) for layer in group]
    common = torch.Generator().manual_seed(0)
    base = {
        name: (torch.randn(a, generator=common) / 28, torch.randn(b, generator=common) / 100) for name, a, b in layers
    }
    for site in sites:
        own = torch.Generator().manual_seed(site + 1)
        yield {
            name: tuple(t + 0.3 * t.std() * torch.randn(t.shape, generator=own) for t in pair)
            for name, pair in base.items()
        }


def dense_sum(held: list[SiteUpdate], name: str) -> Tensor:
    A, B = held[0][name]
    total = torch.zeros(B.shape[0], A.shape[1])
    for update in held:
        A, B = update[name]
        total += (1 / len(held)) * (B @ A)
    return total


def dense_svd(held: list[SiteUpdate], rank: int) -> dict[str, Tensor]:
    made = {}
    for name in held[0]:
        u, s, vh = torch.linalg.svd(dense_sum(held, name), full_matrices=False)
        made[name] = (u[:, :rank] * s[:rank].sqrt(), s[:rank].sqrt().unsqueeze(1) * vh[:rank])
    return made


def randomised(held: list[SiteUpdate], rank: int) -> dict[str, Tensor]:
    made = {}
    for name in held[0]:
        u, s, v = torch.svd_lowrank(dense_sum(held, name), q=rank)
        made[name] = (u * s.sqrt(), (v * s.sqrt()).mT)
    return made


def stacked(held: list[SiteUpdate], rank: int, dtype: torch.dtype) -> dict[str, Tensor]:
    made = {}
    for name in held[0]:
        left = torch.cat([update[name][1].to(dtype) / len(held) for update in held], dim=1)
        right = torch.cat([update[name][0].to(dtype) for update in held], dim=0)
        q_left, r_left = torch.linalg.qr(left)
        q_right, r_right = torch.linalg.qr(right.mT)
        u, s, vh = torch.linalg.svd(r_left @ r_right.mT)
        root = s[:rank].sqrt()
        made[name] = (q_left @ u[:, :rank] * root, root.unsqueeze(1) * (vh[:rank] @ q_right.mT))
    return made


BASELINES: dict[str, Callable[[list[SiteUpdate], int], dict]] = {
    "dense SVD": dense_svd,
    "randomised": randomised,
    "stacked f32": lambda held, rank: stacked(held, rank, torch.float32),
    "stacked f64": lambda held, rank: stacked(held, rank, torch.float64),
}
OURS = "ours"


def ours(rank: int, sites: int) -> tuple[dict, float]:
    """The result and the seconds it took without the making of the updates."""
    groups = shapes(rank)
    sums = [RunningSum() for _ in groups]
    seconds = 0.0
    for first in range(0, sites, BLOCK_SITES):
        block = list(updates(rank, range(first, min(first + BLOCK_SITES, sites))))
        start = time.perf_counter()
        for running, group in zip(sums, groups, strict=True):
            running.add([stack([Factors(*update[name]) for name, _, _ in group]) for update in block], [1] * len(block))
        seconds += time.perf_counter() - start
        del block
    start = time.perf_counter()
    made = {}
    for running, group in zip(sums, groups, strict=True):
        factors = refactorise(running.total(), rank, 1.0).factors
        made |= {name: (factors.B[i].float(), factors.A[i].float()) for i, (name, _, _) in enumerate(group)}
    return made, seconds + time.perf_counter() - start


def baseline(name: str, rank: int, sites: int) -> tuple[dict, float]:
    held = list(updates(rank, range(sites)))
    start = time.perf_counter()
    made = BASELINES[name](held, rank)
    return made, time.perf_counter() - start


def megabytes(entry: str) -> float:
    """VmRSS, the resident size, or VmHWM, its largest since `forget_peak`."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(entry))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def child(name: str, rank: int, sites: int, reference: Path) -> dict:
    """One contender in this process: seconds, megabytes, excess and distance."""
    for _ in range(2):
        torch.linalg.svd(torch.randn(300, 300) @ torch.randn(300, 300))
    forget_peak()
    before = megabytes("VmRSS")
    made, seconds = ours(rank, sites) if name == OURS else baseline(name, rank, sites)
    grown = megabytes("VmHWM") - before
    exact = load_file(reference)
    distance = best = mine = size = 0.0
    for layer, (B, A) in made.items():
        total, optimum = exact[f"total/{layer}"], exact[f"optimum/{layer}"]
        change = B.double() @ A.double()
        distance += (change - optimum).square().sum().item()
        size += optimum.square().sum().item()
        mine += (total - change).square().sum().item()
        best += (total - optimum).square().sum().item()
    return {
        "seconds": seconds,
        "megabytes": grown,
        "excess": (mine / best) ** 0.5 - 1,
        "distance": (distance / size) ** 0.5,
    }


def write_reference(rank: int, sites: int, path: Path) -> None:
    """The exact mean and its best rank-r form, float64 throughout."""
    total: dict[str, Tensor] = {}
    for update in updates(rank, range(sites)):
        for name, (A, B) in update.items():
            total[name] = total.get(name, 0) + B.double() @ A.double() / sites
    tensors = {}
    for name, change in total.items():
        u, s, vh = torch.linalg.svd(change, full_matrices=False)
        tensors[f"total/{name}"] = change
        tensors[f"optimum/{name}"] = u[:, :rank] * s[:rank] @ vh[:rank]
    save_file(tensors, path)


def measure(rank: int, sites: int, repeat: int) -> Table:
    table = Table(title=f"{sites} sites, rank {rank}")
    for column in ("", "seconds", "ratio to ours", "peak MB", "excess", "distance"):
        table.add_column(column, justify="right" if column else "left")
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference.safetensors"
        write_reference(rank, sites, reference)
        runs: dict[str, list[dict]] = {name: [] for name in (OURS, *BASELINES)}
        for _ in range(repeat if sites < LARGE else 1):
            for name in runs:
                command = [sys.executable, __file__, "--child", name, str(rank), str(sites), str(reference)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    median = {name: {k: statistics.median(r[k] for r in found) for k in found[0]} for name, found in runs.items()}
    for name, found in median.items():
        table.add_row(
            name,
            f"{found['seconds']:.2f}",
            f"{found['seconds'] / median[OURS]['seconds']:.2f}",
            f"{found['megabytes']:.0f}",
            f"{found['excess']:.1e}",
            f"{found['distance']:.1e}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, nargs="+", default=[6, 64, 256, 1000])
    parser.add_argument("--ranks", type=int, nargs="+", default=[4, 32])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--child", nargs=4, metavar=("NAME", "RANK", "SITES", "REFERENCE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        name, rank, sites, reference = asked.child
        print(json.dumps(child(name, int(rank), int(sites), Path(reference))))
        return
    for sites in asked.sites:
        for rank in asked.ranks:
            Console().print(measure(rank, sites, asked.repeat))


if __name__ == "__main__":
    main()
