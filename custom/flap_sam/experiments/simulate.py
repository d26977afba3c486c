# SPDX-License-Identifier: Apache-2.0
"""A job in FLARE's simulation environment: in this process, or silently in one of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from flap_sam.config.job import Job
from flap_sam.config.site import ENVIRONMENT, Site, absolute_paths
from flap_sam.data.demo import demo_sites
from flap_sam.data.store import sites as stored_sites
from flap_sam.errors import FlapSamError
from flap_sam.federation import environment
from flap_sam.foundation.children import child
from flap_sam.records.results import results_below

OMP = "OMP_NUM_THREADS"


def simulate(
    job: Job,
    changes: Mapping[str, object],
    work: Path,
    sites: int,
    threads: int | None = None,
    resume: str | None = None,
    start: Path | None = None,
) -> Path:
    """Run a job's federation on this machine; the console shows it.

    Where `OMP_NUM_THREADS` is not set, the sites that work at a time share the processors evenly.

    Args:
        changes: settings in place of the job's.
        work: the job gets a folder of its name there.
        threads: sites that work at a time, each in a process that stays; fewer than all take turns, in a new process
            for every task. By default all.
        resume, start: in place of those in the job's policy, where they are given; `start` by its path.

    Returns:
        The results folder.

    Raises:
        FlapSamError: the run failed; the sentence with which it ended.
    """
    threads = threads or sites
    if threads > sites:
        raise FlapSamError(f"{threads} threads are more than the {sites} sites; leave --threads out, or lower it.")
    os.environ.update(absolute_paths(os.environ))
    policy = {"resume": resume} if resume else {}
    if start:
        policy["start"] = start.name
        os.environ[ENVIRONMENT["payloads"]] = str(start.absolute().parent)
    _check_sites(job, sites)
    os.environ.setdefault(OMP, str(max(1, len(os.sched_getaffinity(0)) // threads)))
    with tempfile.TemporaryDirectory() as folder:
        copy = job.copy(Path(folder) / job.folder.resolve().name, dict(changes), policy)
        workspace = environment.simulate(copy, work, sites, threads, [Path(folder)])
    if not (found := results_below(workspace)):
        raise FlapSamError(f"The simulation ended without results; {workspace}/server/log.txt says how far it came.")
    return found[0]


def _check_sites(job: Job, wanted: int) -> None:
    """Refuse more sites than have data; where there are no data at all, each site says so itself."""
    data = Site.read(None).data
    names = stored_sites(data) if data else demo_sites(job.demo) if job.demo else []
    if names and wanted > len(names):
        raise FlapSamError(
            f"{wanted} sites are more than {data or 'the demo'} has, {len(names)} ({', '.join(names)}); lower --sites."
        )


def start(
    job: Path,
    work: Path,
    sites: int,
    threads: int | None = None,
    errors: int | IO[str] = subprocess.DEVNULL,
    **settings: str,
) -> AbstractContextManager["subprocess.Popen[Any]"]:
    """`flap-sam simulate` on a job's folder in a process that says nothing but errors, and ends with the block.

    Args:
        settings: of the environment, in place of this process's.
    """
    words = [Path(sys.executable).parent / "flap-sam", "simulate", job, "--work", work, "--sites", sites]
    words += ["--threads", threads] if threads else []
    return child(
        [str(word) for word in words],
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        text=True,
    )


def finish(job: Path, work: Path, sites: int, threads: int | None = None, **settings: str) -> Path:
    """Run a job as `start` does, to its end: its results folder.

    Raises:
        FlapSamError: the run failed.
    """
    with start(job, work, sites, threads, subprocess.PIPE, **settings) as run:
        _, told = run.communicate()
    if run.returncode:
        last = told.strip().splitlines()[-1:] or [f"the simulation ended with status {run.returncode}"]
        raise FlapSamError(last[0].removeprefix("flap-sam: "))
    return results_below(work)[0]
