# SPDX-License-Identifier: Apache-2.0
"""Memory of the server and the sites over many rounds of a small job in the simulator.

    python benchmarks/growth.py [--rounds 40] [--sites 3]

Prints the anonymous memory of every process (its own, no files) after some rounds, and the slope of a straight
line through the second half of the rounds, in kB a round, with its standard error. A process that keeps something
of every round grows by at least a payload (0.65 MB here) a round.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from flap_sam.config.job import Job
from flap_sam.experiments.simulate import start
from flap_sam.federation.configured_job import SIMULATOR
from flap_sam.records import round_log
from rich.console import Console
from rich.table import Table

JOB = Path(__file__).parents[1] / "jobs" / "flap_sam_kits"
SMALL = {"image_size": 32, "rank": 16, "batch_size": 16}


def children(pid: int) -> list[int]:
    """The process and all below it."""
    below = [int(p) for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()]
    return [pid, *(deeper for child in below for deeper in children(child))]


def role(pid: int) -> str | None:
    """What a process of the simulator is: the server, a site, or a mere launcher."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    if any("simulator_worker" in word for word in words):
        return next(words[i + 1] for i, word in enumerate(words) if word == "--client")
    return "server" if SIMULATOR in words else None


def kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss_Anon:")))


def sizes(pid: int) -> dict[str, int]:
    """Anonymous memory by role; the largest of those that share one."""
    found: dict[str, int] = {}
    for process in children(pid):
        name = role(process)
        if name is not None:
            found[name] = max(found.get(name, 0), kilobytes(process))
    return found


def follow(run: subprocess.Popen, log: Path) -> list[dict[str, int]]:
    """Sizes after every round."""
    measured: list[dict[str, int]] = []
    while run.poll() is None:
        done = len(log.read_text().splitlines()) if log.exists() else 0
        if done > len(measured):
            try:
                measured.append(sizes(run.pid))
            except (FileNotFoundError, ProcessLookupError):
                break  # the run is ending
        time.sleep(0.05)
    return measured


def slope(rounds: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """kB a round and its standard error."""
    (rate, _), covariance = np.polyfit(rounds, values, 1, cov=True)
    return rate, covariance[0, 0] ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--sites", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = Job.read(JOB).copy(folder / "job", SMALL | {"rounds": asked.rounds})
        own = {"OMP_NUM_THREADS": "1", "FLAP_SAM_STATE": str(folder / "state")}
        log = folder / "work/job/server/simulate_job/results" / round_log.ROUND_LOG
        with start(job, folder / "work", asked.sites, **own) as run:
            measured = follow(run, log)
        seconds = [record.seconds for record in round_log.read(log.parent)]
    shown = [k for k in (0, 4, 9, 19, 29, 39) if k < len(measured)]
    table = Table(title=f"{len(seconds)} rounds of {sum(seconds) / len(seconds):.1f} s; MB after round")
    for column in ("", *(str(k + 1) for k in shown), "kB a round"):
        table.add_column(column, justify="right" if column else "left")
    half = np.arange(len(measured) // 2, len(measured))
    for name in measured[-1]:
        values = np.array([found.get(name, 0) for found in measured], dtype=float)
        rate, error = slope(half, values[half])
        table.add_row(name, *(f"{values[k] / 1024:.0f}" for k in shown), f"{rate:.1f} ± {error:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
