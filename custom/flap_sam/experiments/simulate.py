# SPDX-License-Identifier: Apache-2.0
"""A job in FLARE's simulation environment: in this process, or silently in one of its own."""

import os
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from flap_sam.config import job_files
from flap_sam.config.experiment import Experiment
from flap_sam.config.job import Job
from flap_sam.config.run_policy import RunPolicy
from flap_sam.config.site import ENVIRONMENT, Site, absolute_paths
from flap_sam.data.demo import demo_sites
from flap_sam.data.manifest import read_manifest
from flap_sam.data.store import MANIFEST
from flap_sam.data.store import sites as stored_sites
from flap_sam.errors import FlapSamError
from flap_sam.federation import environment
from flap_sam.foundation.children import child
from flap_sam.foundation.extras import require
from flap_sam.foundation.text import count
from flap_sam.records.results import results_below

NAME = "flap_sam"


def simulate(
    job: Experiment | Job,
    work: Path | str,
    sites: int,
    *,
    policy: RunPolicy | None = None,
    site: Site | None = None,
    threads: int | None = None,
    start: Path | str | None = None,
) -> Path:
    """Run a federation on this machine, through FLARE's simulator; the console shows it.

    `site-1`, `site-2` and so on take the sites of the store in the order of their names. Sites that
    work at a time share the cores that the machine has free, unless `OMP_NUM_THREADS` is set.

    Args:
        job: what is trained, or a job that says so.
        work: the run gets a folder there of the job's name, of "flap_sam" where it is an experiment's.
        sites: how many.
        policy: how the run is conducted; None means as the job says.
        site: store, checkpoint, device and state of all sites; None means as the environment says.
        threads: sites that work at a time, each in a process that stays; fewer than all take turns, in a new process
            for every task. By default all.
        start: a payload's file, from which the first round starts in place of the weights of the sites.

    Returns:
        The results folder: payloads, round log and test Dice (see `records.results`).

    Raises:
        FlapSamError: the run cannot be started so, or it failed; the sentence with which it ended.
    """
    threads = threads or sites
    if threads > sites:
        raise FlapSamError(f"{threads} threads are more than the {sites} sites; leave --threads out, or lower it.")
    policy = policy or (job.policy if isinstance(job, Job) else RunPolicy())
    if start is not None:
        policy = policy.changed(start=Path(start).name)
    variables = _variables(site)
    if start is not None:
        variables[ENVIRONMENT["payloads"]] = str(Path(start).absolute().parent)
    if isinstance(job, Job) and (tensorboard := job_files.TENSORBOARD["path"]) in job.components:
        require("tensorboard", f"Job {job.folder}, which has {tensorboard},")
    _check_data(site or Site.read(None), job, sites)
    with tempfile.TemporaryDirectory() as folder:
        laid = _lay(job, policy, Path(folder))
        workspace = environment.simulate(laid, Path(work), sites, threads, [Path(folder)], variables)
    if not (found := results_below(workspace)):
        raise FlapSamError(f"The simulation ended without results; {workspace}/server/log.txt says how far it came.")
    return found[0]


def _variables(site: Site | None) -> dict[str, str]:
    """The environment of FLARE's processes, which stand elsewhere."""
    variables = dict(os.environ)
    if site is None:
        variables |= absolute_paths(os.environ)
    else:
        for name in ENVIRONMENT.values():
            variables.pop(name, None)
        variables |= site.variables()
    return variables


def _lay(job: Experiment | Job, policy: RunPolicy, folder: Path) -> Path:
    """The job's folder, as it is run, in another."""
    if isinstance(job, Job):
        changed = {name: value for name, value in vars(policy).items() if value != vars(job.policy)[name]}
        return job.copy(folder / job.folder.resolve().name, {}, changed)
    return job_files.write(folder / NAME, job, policy).folder


def _check_data(site: Site, job: Experiment | Job, wanted: int) -> None:
    """Refuse a store without a site, more sites than have data, and stores of another number of classes.

    Where no data are configured, each site says so itself.
    """
    demo = job.demo if isinstance(job, Job) else None
    names = stored_sites(site.data) if site.data else demo_sites(demo) if demo else []
    if names and wanted > len(names):
        held = f"{site.data.absolute() if site.data else 'the demo'} has, {len(names)} ({', '.join(names)})"
        raise FlapSamError(f"{wanted} sites are more than {held}; lower --sites.")
    if site.data is None:
        return
    if not names:
        raise FlapSamError(
            f"{site.data.absolute()} holds no prepared site; make it with `flap-sam prepare`, or correct "
            f"{ENVIRONMENT['data']}."
        )
    expected = (job.experiment() if isinstance(job, Job) else job).classes
    for name in names[:wanted]:
        _check_classes(site.data, name, expected)


def _check_classes(store: Path, name: str, expected: int) -> None:
    """Refuse a site of a store that has another number of classes than the experiment."""
    classes = read_manifest(store / name / MANIFEST).classes
    if len(classes) != expected:
        raise FlapSamError(
            f"Site {name} of {store.absolute()} has {count(len(classes), 'class', 'classes')} ({', '.join(classes)}), "
            f"the experiment has {expected}; set classes to {len(classes)}."
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
