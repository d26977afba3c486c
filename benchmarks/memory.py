# SPDX-License-Identifier: Apache-2.0
"""Memory of a training step of `flap_sam` beside the same step out of segment_anything's own modules (baseline.py).

    python benchmarks/memory.py [--image-size 224] [--backbone vit_b] [--batch 1] [--repeat 3]

Every contender takes two steps in a process of its own, in turn. The extra memory is what the steps add, at their
peak, to the weights: growth of the resident size, or on a GPU of what torch has allocated there. In all: the peak,
weights, and on the CPU Python and its libraries, included.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch
from aggregation import forget_peak, megabytes
from contenders import BASELINE, LOW, OURS, batch, contender, device, sizes
from rich.console import Console
from rich.table import Table

STEPS = 2
HANDED_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**18)}  # glibc: what is freed leaves the resident size, in all alike


def child(asked: argparse.Namespace) -> dict[str, float]:
    """Megabytes of one contender in this process, and the seconds of its last step."""
    subject, data = contender(asked.child, asked), batch(asked)
    on_gpu = device().type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    else:
        forget_peak()
        before = megabytes("VmRSS")
    for _ in range(STEPS):
        start = time.perf_counter()
        subject.step(*data).item()
        seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else megabytes("VmHWM")
    return {"extra": peak - before, "all": peak, "seconds": seconds}


def main() -> None:
    parser = sizes(__doc__)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(child(asked)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (BASELINE, OURS, LOW)}
    for _ in range(asked.repeat):
        for name in found:
            command = [sys.executable, *sys.argv, "--child", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | HANDED_BACK)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    median = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()
    }
    table = Table(title=f"{asked.backbone}, {asked.image_size} px, {asked.batch} windows of 5 slices, {device()}")
    for column in ("", "extra MB", "least to most", "of the baseline's", "MB in all"):
        table.add_column(column, justify="right" if column else "left")
    for name, runs in found.items():
        extra = [run["extra"] for run in runs]
        ratio = median[name]["extra"] / median[BASELINE]["extra"]
        spread = f"{min(extra):.0f} to {max(extra):.0f}"
        table.add_row(name, f"{median[name]['extra']:.0f}", spread, f"{ratio:.2f}", f"{median[name]['all']:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
