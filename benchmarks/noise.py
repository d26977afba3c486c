# SPDX-License-Identifier: Apache-2.0
"""What secret, exact noise costs: seconds for a million numbers on one thread, beside torch's fast generator.

    python benchmarks/noise.py [--count 1000000] [--repeat 5]

    torch.randn          continuous noise in float64, as it was drawn before: a seed of 32 bits, floating point
    os.urandom           what the kernel takes to hand out as many words of 64 bits
    sigma N              discrete Gaussian noise of that standard deviation: exact, from the kernel's entropy
    whole release        `privatised` on an update of as many numbers: clipped, rounded, noised, added to its base

All run in turn in one process, so that a busy machine slows them alike; shown are the least and the median of the
turns, and the ratio of the least to that of torch.randn.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
from flap_sam.gate.agreement import Privacy
from flap_sam.gate.discrete_gaussian import LARGEST_SIGMA, discrete_gaussian
from flap_sam.gate.noise import RADIUS, privatised
from rich.console import Console
from rich.table import Table

TENSORS = 100  # of the update, all of one size
BASELINE = "torch.randn"


def contenders(count: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    base = {str(i): torch.randn(count // TENSORS) for i in range(TENSORS)}
    sent = {name: t + 1e-3 for name, t in base.items()}
    privacy = Privacy(clip=1.0, noise_multiplier=1.0, epsilon=8.0, delta=1e-5, slices=1)
    noises = {
        f"sigma {sigma}": lambda sigma=sigma: discrete_gaussian(count, sigma)
        for sigma in (1, 30, RADIUS // 10, RADIUS, LARGEST_SIGMA)
    }
    return {
        BASELINE: lambda: torch.randn(count, dtype=torch.float64),
        "os.urandom": lambda: os.urandom(8 * count),
        **noises,
        "whole release": lambda: privatised(sent, base, privacy),
    }


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10**6)
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    timed = contenders(asked.count)
    taken = {name: [] for name in timed}
    for _ in range(asked.repeat):
        for name, run in timed.items():
            taken[name].append(seconds(run) * 1e6 / asked.count)
    table = Table("noise", "s a million, least", "median", f"times {BASELINE}", title=f"{asked.count} numbers")
    least = min(taken[BASELINE])
    for name, times in taken.items():
        table.add_row(name, f"{min(times):.4f}", f"{statistics.median(times):.4f}", f"{min(times) / least:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
