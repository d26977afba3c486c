# SPDX-License-Identifier: Apache-2.0
"""A training step of `flap_sam` beside the same step out of segment_anything's own modules (see baseline.py).

    python benchmarks/step.py [--image-size 224] [--backbone vit_b] [--batch 1] [--repeat 3]

Loss and gradients of the float32 networks are compared first: the loss, and every gradient over its norm, must
agree within 1e-4, else nothing is timed. For this the baseline's loss is taken in float64, as its float32 sums over
a million pixels are wrong in the fourth digit. Then all take steps in turn, in one process. The ratio is of the
medians; its spread is the least and the largest of the paired runs. On a GPU ours also runs in bfloat16, and the
share is that of the rate of a large bfloat16 matrix product which the same GPU reaches.
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from baseline import BaselineLoss
from contenders import BASELINE, LOW, OURS, Contender, batch, contender, device, sizes
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

WITHIN = 1e-4
SIDE = 8192  # of the matrices whose product gives the GPU's rate
BFLOAT16 = "ours, bfloat16"


def seconds(work: Callable[[], object]) -> float:
    if device().type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def differences(ours: Contender, theirs: Contender, data: tuple) -> dict[str, float]:
    """Of the losses, and the worst of the gradients, each over its norm."""
    for subject in (ours, theirs):
        subject.optimizer.zero_grad()
    images, labels = data
    loss, expected = ours.gradients(images, labels), BaselineLoss()(theirs.network(images).double(), labels)
    expected.backward()
    gradients = [
        ((parameter.grad - theirs.trained[name].grad).norm() / theirs.trained[name].grad.norm()).item()
        for name, parameter in ours.trained.items()
    ]
    return {"loss": abs(loss.item() - expected.item()), "gradients": max(gradients)}


def operations(subject: Contender, data: tuple) -> int:
    """Floating-point operations of a step's matrix products."""
    with FlopCounterMode(display=False) as counter:
        subject.gradients(*data)
    return counter.get_total_flops()


def product_rate() -> float:
    """Operations a second of a bfloat16 product on this GPU."""
    a = torch.randn(SIDE, SIDE, device=device(), dtype=torch.bfloat16)
    times = [seconds(lambda: a @ a) for _ in range(20)]
    return 2 * SIDE**3 / min(times)


def main() -> int:
    asked = sizes(__doc__).parse_args()
    everyone = {name: contender(name, asked) for name in (BASELINE, OURS, LOW)}
    data = batch(asked)
    for name in (OURS, LOW):
        found = differences(everyone[name], everyone[BASELINE], data)
        print(f"{name}: " + ", ".join(f"{what} differ by {value:.1e}" for what, value in found.items()))
        if max(found.values()) > WITHIN:
            return 1
    peak = None
    if device().type == "cuda":
        everyone[BFLOAT16] = contender(OURS, asked, "bfloat16")
        peak = operations(everyone[BFLOAT16], data) / product_rate()
    times: dict[str, list[float]] = {name: [] for name in everyone}
    for subject in everyone.values():
        subject.step(*data)
    for _ in range(asked.repeat):
        for name, subject in everyone.items():
            times[name].append(seconds(partial(subject.step, *data)))
    table = Table(title=f"{asked.backbone}, {asked.image_size} px, {asked.batch} windows of 5 slices, {device()}")
    for column in ("", "seconds", "speed-up", "of paired runs", "slices/s", *(["share of peak"] if peak else [])):
        table.add_column(column, justify="right" if column else "left")
    for name, own in times.items():
        median = statistics.median(own)
        paired = [theirs / mine for theirs, mine in zip(times[BASELINE], own, strict=True)]
        figures = [f"{median:.3f}", f"{statistics.median(times[BASELINE]) / median:.2f}"]
        figures += [f"{min(paired):.2f} to {max(paired):.2f}", f"{5 * asked.batch / median:.1f}"]
        table.add_row(name, *figures, *([f"{peak / median:.0%}"] if peak else []))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
