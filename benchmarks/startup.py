# SPDX-License-Identifier: Apache-2.0
"""CPU and wall seconds of what starts a process: imports, the commands of a deployment, a site's first step, a slice.

python benchmarks/startup.py                       this package
python benchmarks/startup.py --beside OTHER        this one and another checkout's in turn, and the ratios
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from flap_sam.config.experiment import Experiment
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.methods import parameter_table
from flap_sam.wire import payload

ROOT = Path(__file__).parents[1]
COMMAND = "from flap_sam.commands.main import main; main()"
FIRST_STEP = """
import torch
import flap_sam.federation.executor
from flap_sam.config.experiment import Experiment
from flap_sam.sam.checkpoint import network_for
from flap_sam.training.team import ALONE
from flap_sam.training.trainer import Trainer
class Noise:
    def __len__(self): return 1
network, experiment, _ = network_for(Experiment(backbone="vit_tiny", image_size=32, rank=4, augmentation="none"), None)
trainer = Trainer(network, experiment, Noise(), torch.device("cpu"), "float32")
trainer._update(torch.rand(1, 5, 32, 32), torch.zeros(1, 5, 32, 32, dtype=torch.uint8), 1.0)
"""


def kit(folder: Path) -> Path:
    """What is needed of a hospital's startup kit to lay a policy into it and to look at it."""
    (folder / "startup").mkdir(parents=True)
    (folder / "local").mkdir()
    server = {"name": "f", "service": {"scheme": "tcp", "target": "localhost:1"}, "identity": "localhost"}
    for name in ("fed_client.json", "fed_server.json"):
        (folder / "startup" / name).write_text(json.dumps({"servers": [server], "client": {}}))
    return folder


def volume(folder: Path) -> Path:
    """One slice."""
    image = nib.Nifti1Image(np.random.default_rng(0).normal(size=(96, 80, 1)).astype(np.float32), np.eye(4))
    nib.save(image, folder / "scan.nii.gz")
    return folder / "scan.nii.gz"


def made_payload(folder: Path) -> Path:
    network, experiment, _ = network_for(Experiment(backbone="vit_tiny", image_size=64, rank=4), None)
    parameters = dict(network.named_parameters())
    tensors = {t.name: parameters[t.name].detach() for t in parameter_table(network, "flap_sam") if t.sent}
    payload.write(folder / "payload.safetensors", tensors, experiment, {})
    return folder / "payload.safetensors"


def starts(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """What is started, by name: the words after the interpreter."""
    site, job = kit(folder / "hospital"), str(ROOT / "jobs/flap_sam_kits")
    yield "python alone", ["-c", "pass"]
    yield "import torch", ["-c", "import torch"]
    yield "import the executor", ["-c", "import flap_sam.federation.executor"]
    yield "executor and a first step", ["-c", FIRST_STEP]
    yield "flap-sam --help", ["-c", COMMAND, "--help"]
    yield "flap-sam stage", ["-c", COMMAND, "stage", job, "--out", str(folder / "staged")]
    yield "flap-sam kit", ["-c", COMMAND, "kit", str(site), "--job", job]
    yield "flap-sam check", ["-c", COMMAND, "check", str(site)]
    words = ["--payload", str(made_payload(folder)), "--input", str(volume(folder)), "--output", str(folder / "masks")]
    yield "flap-sam predict, one slice", ["-c", COMMAND, "predict", *words, "--clip", "min", "max"]


def seconds(words: list[str], package: Path, folder: Path) -> tuple[float, float]:
    """CPU and wall seconds of a process and its children."""
    for made in ("staged", "masks"):
        subprocess.run(["rm", "-rf", str(folder / made)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(package / "custom"), "FLAP_SAM_STATE": str(folder / "state")}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode and "check" not in words:  # which finds that the kit is no whole one
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--beside", type=Path, help="another checkout of this repository")
    words.add_argument("--repeat", type=int, default=5)
    asked = words.parse_args()
    packages = [ROOT, *([asked.beside] if asked.beside else [])]
    print("CPU seconds and wall seconds, medians; " + ", then of ".join(map(str, packages)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, started in starts(folder):
            taken = [[seconds(started, package, folder) for package in packages] for _ in range(asked.repeat + 1)][1:]
            cells = [
                [statistics.median(times[p][k] for times in taken) for k in range(2)] for p in range(len(packages))
            ]
            line = "   ".join(f"{cpu:6.2f} {wall:6.2f}" for cpu, wall in cells)
            ratio = f"   {cells[1][0] / cells[0][0]:.2f} times the CPU seconds" if asked.beside else ""
            print(f"{what:<30} {line}{ratio}", flush=True)


if __name__ == "__main__":
    main()
