# SPDX-License-Identifier: Apache-2.0
"""How many threads a site computes with: its share of the cores that the machine has free.

A thread more than there are free cores costs far more than it brings, as each operation waits for its slowest thread.
"""

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

GIVEN = "OMP_NUM_THREADS"
WATCHED_SECONDS = 0.3
OF_FLARE = "nvflare"
AT_WORK = ("nvflare.private.fed.app.simulator.simulator_worker", "nvflare.private.fed.app.client.worker_process")
CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def settle(by_site: int | None, kept: int | None = None) -> None:
    """Compute with so many threads from now on: those that somebody chose, else those kept, else this process' share.

    Args:
        by_site: the site's own setting; kept: what the run has computed with so far.
    """
    torch.set_num_threads(chosen(by_site) or kept or share())


def chosen(by_site: int | None) -> int | None:
    """The number that somebody chose: the site by its settings, or the user by `OMP_NUM_THREADS`; None if nobody."""
    by_user = os.environ.get(GIVEN, "")
    return by_site or (int(by_user) if by_user.isdecimal() else None) or None


@cache
def share() -> int:
    """The number of threads that is this process' share of what the machine has free, found once and logged."""
    machine = Machine.now()
    logging.getLogger(__name__).info(str(machine))
    return machine.threads


@dataclass(frozen=True)
class Machine:
    """What a process finds on its machine.

    Attributes:
        cores: that this process may use.
        busy: of all the machine's cores, those that programs keep busy that are not of a federation.
        free: the others.
        sites: processes that work for a site on this machine, this one among them.
    """

    cores: int
    busy: float
    free: float
    sites: int

    @classmethod
    def now(cls) -> "Machine":
        """The machine, watched for `WATCHED_SECONDS`."""
        start, all_before, own_before = time.perf_counter(), _busy(), _of_federations()
        time.sleep(WATCHED_SECONDS)
        own = _of_federations()
        seconds = time.perf_counter() - start
        ours = sum(one.used - (own_before[number].used if number in own_before else 0.0) for number, one in own.items())
        busy = max(0.0, _busy() - all_before - ours) / seconds
        sites = sum(one.at_work for one in own.values())
        return cls(usable_cores(), busy, (os.cpu_count() or 1) - busy, sites)

    @property
    def threads(self) -> int:
        """The share of each site, one at least; a core that is busy less than half of the time counts as free."""
        return max(1, int(min(self.cores, self.free + 0.5)) // self.sites)

    def __str__(self) -> str:
        return (
            f"Threads: {self.threads}. Cores that may be used: {self.cores}; kept busy by other programs: "
            f"{self.busy:.1f}; sites at work on this machine: {self.sites}. Set `threads` in flap_site.json, or "
            f"{GIVEN}, to choose yourself."
        )


def usable_cores() -> int:
    """Cores that this process may use, by its affinity and by the quota of its control group."""
    quotas = [len(os.sched_getaffinity(0)), *map(int, _quotas())]
    return max(1, min(quotas))


def _quotas() -> Iterator[float]:
    """CPU quotas in cores: of the process' control group and of those around it (cgroup v2), or of its own (v1)."""
    own = OWN_CGROUP.read_text().splitlines() if OWN_CGROUP.exists() else []
    for line in own:
        _, controllers, name = line.split(":", 2)
        folder = CGROUPS / name.strip("/")
        if not controllers:
            for around in [folder, *folder.parents]:
                quota, _, period = _text(around / "cpu.max").partition(" ")
                if quota.isdecimal():
                    yield int(quota) / int(period)
        elif "cpu" in controllers.split(","):
            for around in (CGROUPS / "cpu" / name.strip("/"), CGROUPS / "cpu"):
                quota, period = _text(around / "cpu.cfs_quota_us"), _text(around / "cpu.cfs_period_us")
                if quota.isdecimal():
                    yield int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _busy() -> float:
    """CPU seconds that all programs have taken on all cores."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


class _Process(NamedTuple):
    """CPU seconds that a process has taken, and whether it works for a site."""

    used: float
    at_work: bool


def _of_federations() -> dict[int, _Process]:
    """Every process of FLARE by its number, and this one, which works for a site whatever it is."""
    found = {}
    for process in psutil.process_iter(["cmdline", "cpu_times"]):
        words, used = process.info["cmdline"] or [], process.info["cpu_times"]
        own = process.pid == os.getpid()
        if used and (own or any(OF_FLARE in word for word in words)):
            found[process.pid] = _Process(used.user + used.system, own or any(word in AT_WORK for word in words))
    return found
