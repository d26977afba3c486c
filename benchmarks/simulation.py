"""A job started in FLARE's simulator, as its command starts it."""

import os
import subprocess
import sys
from pathlib import Path


def start(job: Path, work: Path, sites: int, threads: int, **environment: str) -> subprocess.Popen:
    """Start a job, silently, a processor a process; the sites' state lies beside the workspace."""
    command = [str(Path(sys.executable).parent / "nvflare"), "simulator", str(job), "-w", str(work)]
    own = {"OMP_NUM_THREADS": "1", "FLAP_SAM_STATE": str(work.with_name(f"state_{work.name}"))}
    return subprocess.Popen(
        [*command, "-n", str(sites), "-t", str(threads)],
        env=os.environ | own | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def finish(job: Path, work: Path, sites: int, threads: int, **environment: str) -> None:
    """Run a job to its end; raises a CalledProcessError where it fails."""
    run = start(job, work, sites, threads, **environment)
    if run.wait():
        raise subprocess.CalledProcessError(run.returncode, run.args)
