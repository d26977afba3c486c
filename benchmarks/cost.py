# SPDX-License-Identifier: Apache-2.0
"""How the cost grows: with the windows of a batch, the image size, the rank, or the sites. Draws a figure.

    python benchmarks/cost.py {windows,image-size,rank,sites} [--values 1 2 4] [--backbone vit_b] [--out docs/figures]

Of a training step, beside segment_anything's own modules (see baseline.py): seconds, and the memory that it takes at
its peak beyond the weights, a process a point. The baseline is left out above 512 px, where its position bias alone
would take 16 GB. Of the sites: seconds of a round of a small job in FLARE's simulator, all sites at once on this
machine's processors, and what of it the server takes alone.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from contenders import BASELINE, LOW, OURS
from flap_sam.config.job import Job
from flap_sam.data.demo import demo_store
from flap_sam.data.store import SiteStore, write_manifest
from flap_sam.experiments.simulate import finish
from flap_sam.records import round_log
from matplotlib import pyplot
from memory import HANDED_BACK
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
JOB = HERE.parent / "jobs" / "flap_sam_kits"
BASELINES_LARGEST_IMAGE = 512
ROUNDS = 4


@dataclass(frozen=True)
class Cost:
    """What is varied.

    Args:
        panels: titles of the figure's two panels.
        measure: from a value and a backbone to a figure a panel, by contender.
    """

    values: tuple[int, ...]
    panels: tuple[str, str]
    measure: Callable[[int, str], dict[str, list[float]]]


def step_at(option: str) -> Callable[[int, str], dict[str, list[float]]]:
    """Measures a training step with an option of memory.py set to the value."""

    def measure(value: int, backbone: str) -> dict[str, list[float]]:
        found = {}
        for name in (BASELINE, OURS, LOW):
            if name == BASELINE and option == "--image-size" and value > BASELINES_LARGEST_IMAGE:
                continue
            options = ["--backbone", backbone, option, str(value), "--child", name]
            done = subprocess.run(
                [sys.executable, str(HERE / "memory.py"), *options],
                env=os.environ | HANDED_BACK,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            told = json.loads(done.stdout.splitlines()[-1])
            found[name] = [told["seconds"], told["extra"]]
        return found

    return measure


def store_of(sites: int, folder: Path) -> None:
    """A store of so many sites, each with the data of the phantom's first."""
    source, name = demo_store("phantom", lambda known: known[0])
    manifest = SiteStore.open(source, name).manifest
    for i in range(sites):
        shutil.copytree(source / name, folder / f"site-{i + 1}")
        write_manifest(folder, manifest.model_copy(update={"site": f"site-{i + 1}"}))


def round_of(sites: int, _: str) -> dict[str, list[float]]:
    """Seconds of a round with so many sites, the first round, which starts the processes, left out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store_of(sites, folder / "store")
        job = Job.read(JOB).copy(folder / "job", {"rounds": ROUNDS, "image_size": 32, "batch_size": 16})
        own = {"FLAP_SAM_DATA": str(folder / "store"), "FLAP_SAM_STATE": str(folder / "state")}
        results = finish(job, folder / "work", sites, OMP_NUM_THREADS="1", **own)
        rounds = round_log.read(results)[1:]
    return {
        OURS: [statistics.median(getattr(record, key) for record in rounds) for key in ("seconds", "server_seconds")]
    }


STEP = ("seconds a step", "extra MB")
COSTS = {
    "windows": Cost((1, 2, 4, 8), STEP, step_at("--batch")),
    "image-size": Cost((224, 512, 1024), STEP, step_at("--image-size")),
    "rank": Cost((4, 16, 64), STEP, step_at("--rank")),
    "sites": Cost((2, 6, 12, 24), ("seconds a round", "of it at the server"), round_of),
}


def draw(name: str, cost: Cost, found: dict[int, dict[str, list[float]]], path: Path) -> None:
    """Two panels over the values, a line a contender."""
    mpl.use("Agg")
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for number, (panel, title) in enumerate(zip(panels, cost.panels, strict=True)):
        for line in dict.fromkeys(line for lines in found.values() for line in lines):
            values = [value for value in found if line in found[value]]
            panel.plot(values, [found[value][line][number] for value in values], marker="o", label=line)
        panel.set(title=title, xlabel=name, xticks=list(found))
        panel.set_ylim(bottom=0)
    panels[0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=COSTS)
    parser.add_argument("--values", type=int, nargs="+")
    parser.add_argument("--backbone", default="vit_b")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "figures")
    asked = parser.parse_args()
    cost = COSTS[asked.what]
    found = {value: cost.measure(value, asked.backbone) for value in asked.values or cost.values}
    table = Table(title=f"{asked.what}: {', '.join(cost.panels)}")
    lines = list(dict.fromkeys(line for measured in found.values() for line in measured))
    for column in (asked.what, *lines):
        table.add_column(column, justify="right")
    for value, measured in found.items():
        cells = [", ".join(f"{x:,.2f}" for x in measured[line]) if line in measured else "-" for line in lines]
        table.add_row(str(value), *cells)
    Console().print(table)
    draw(asked.what, cost, found, asked.out / f"cost_{asked.what}.svg")


if __name__ == "__main__":
    main()
