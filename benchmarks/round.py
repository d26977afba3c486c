"""A round in FLARE's simulator, by part: what training costs, what scoring costs, what the federation adds.

    python benchmarks/round.py [--sites 6] [--rounds 3] [--image-size 64]

The baseline is how the simulator runs a job that says nothing: one site at a time, a new process for every task,
and sites that ask for work every 2 seconds. Ours is the job as it is, with a process a site. Both run the main job's
experiment on the bundled phantom; the payloads must be equal to the bit. The parts are read from the round log and from
FLARE's own log of each site:

    start       until the first site has its first task: processes, imports
    first       the first round: data, network, the first payload
    training    steps of the local epoch; where sites take turns, of all sites together, else of the slowest
    scoring     the rest of a site's work on a task: validation, the site's state
    sending     from the site's first byte to the server's receipt
    server      checks, aggregation, the server's state
    waiting     what is left of a round: sites that ask, FLARE's own bookkeeping, new processes
    closing     scoring of the final and the best payload, and the end of the processes

Rounds after the first count, their median is shown.
"""

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch
from flap_sam.config.job import Job
from flap_sam.config.job_folder import SERVER_CONFIG
from flap_sam.experiments.simulate import finish
from flap_sam.records import round_log
from flap_sam.records.results import FINAL, PAYLOAD_FILES
from flap_sam.wire import payload
from rich.console import Console
from rich.table import Table

JOB = Path(__file__).parents[1] / "jobs" / "flap_sam_kits"
BASELINE, OURS = "baseline", "ours"
PARTS = ("start", "first", "training", "scoring", "sending", "server", "waiting", "closing")
MOMENTS = {"got": "got task assignment", "done": "finished processing task", "sent": "task result sent"}


@dataclass(frozen=True)
class Task:
    """One task at one site: when it came, was done, and was sent; seconds since the start of the run."""

    got: float
    done: float
    sent: float


def run(folder: Path, name: str, sites: int, settings: dict) -> tuple[Path, float, float]:
    """Run the job, a processor a process; its results, when it began, on the clock, and the seconds it took."""
    job = Job.read(JOB).copy(folder / f"job_{name}", settings)
    if name == BASELINE:
        config = json.loads((job / SERVER_CONFIG).read_text())
        del config["server"]
        (job / SERVER_CONFIG).write_text(json.dumps(config))
    began, start = time.time(), time.perf_counter()
    alone = {"OMP_NUM_THREADS": "1", "FLAP_SAM_STATE": str(folder / f"state_{name}")}
    results = finish(job, folder / name, sites, threads=1 if name == BASELINE else sites, **alone)
    return results, began, time.perf_counter() - start


def tasks_of(log: Path, began: float) -> list[Task]:
    """A site's tasks in their order, from FLARE's log."""
    moments: dict[str, list[float]] = {name: [] for name in MOMENTS}
    for line in log.read_text().splitlines():
        for name, words in MOMENTS.items():
            if words in line and (stamp := re.match(r"\S+ \S+", line)):
                moments[name].append(datetime.strptime(stamp[0], "%Y-%m-%d %H:%M:%S,%f").timestamp() - began)
    return [Task(*moment) for moment in zip(*moments.values(), strict=True)]


def parts(results: Path, began: float, wall: float, taking_turns: bool) -> dict[str, float]:
    """Seconds by part."""
    rounds = round_log.read(results)
    tasks = {site: tasks_of(results.parents[2] / site / "log.txt", began) for site in rounds[0].sites}
    start = min(found[0].got for found in tasks.values())
    trained = max(found[len(rounds) - 1].sent for found in tasks.values())
    measured: dict[str, list[float]] = {name: [] for name in ("training", "scoring", "sending", "server", "waiting")}
    for number, record in enumerate(rounds[1:], 1):
        own = {site: found[number] for site, found in tasks.items()}
        busiest = own if taking_turns else [max(own, key=lambda site: own[site].sent - own[site].got)]
        training = sum(record.sites[site].seconds for site in busiest)
        scoring = sum(own[site].done - own[site].got for site in busiest) - training
        sending = sum(own[site].sent - own[site].done for site in busiest)
        waiting = record.seconds - training - scoring - sending - record.server_seconds
        for name, value in zip(measured, (training, scoring, sending, record.server_seconds, waiting), strict=True):
            measured[name].append(value)
    medians = {name: statistics.median(values) for name, values in measured.items()}
    return {"start": start, "first": rounds[0].seconds, **medians, "closing": wall - trained}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=64)
    asked = parser.parse_args()
    found, walls, payloads = {}, {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for contender in (BASELINE, OURS):
            settings = {"rounds": asked.rounds, "image_size": asked.image_size}
            results, began, walls[contender] = run(folder, contender, asked.sites, settings)
            found[contender] = parts(results, began, walls[contender], contender == BASELINE)
            payloads[contender] = payload.read(results / PAYLOAD_FILES[FINAL]).tensors
    same = all(torch.equal(tensor, payloads[BASELINE][name]) for name, tensor in payloads[OURS].items())
    table = Table(title=f"{asked.sites} sites, {asked.image_size} px: seconds by part; payloads equal: {same}")
    for column in ("", BASELINE, OURS, "ratio"):
        table.add_column(column, justify="right" if column else "left")
    rows = {part: {c: found[c][part] for c in found} for part in PARTS} | {f"whole run, {asked.rounds} rounds": walls}
    for label, values in rows.items():
        ratio = values[BASELINE] / values[OURS] if values[OURS] > 0 else float("nan")
        table.add_row(label, *(f"{values[c]:.2f}" for c in (BASELINE, OURS)), f"{ratio:.2f}")
    Console().print(table)
    sys.exit(not same)


if __name__ == "__main__":
    main()
