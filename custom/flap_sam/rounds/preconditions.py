# SPDX-License-Identifier: Apache-2.0
"""What must hold before the first round of a job: enough sites, registered ones, and rules that mean something."""

from collections.abc import Iterable, Sequence

from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError
from flap_sam.lowrank.robust import shortcoming
from flap_sam.records.candidate import check_class
from flap_sam.training.progress import Say


def check(job: Experiment, policy: RunPolicy, sites: Sequence[str], deployed: bool, say: Say) -> None:
    """Raise a FlapSamError that says what the job lacks to be run over the connected sites.

    Args:
        deployed: whether the server runs from a startup kit, and not in a simulation.
        say: is told of sites that are named and not there.
    """
    wanted = policy.min_sites or 1
    if len(sites) < wanted:
        raise FlapSamError(f"{len(sites)} sites are connected; the job's min_sites is {wanted}.")
    check_class(policy.best_by, job.classes)
    _check_ranks(job, sites, deployed, say)
    _check_registered(policy, sites, deployed, say)
    _check_rule(job, policy, len(sites))


def _check_registered(policy: RunPolicy, sites: Sequence[str], deployed: bool, say: Say) -> None:
    """In a deployed federation every site is registered; a name that fits none is a mistake, or a site that is away."""
    registered = policy.largest_slices
    unregistered = [site for site in sites if site not in registered]
    absent, away = _absent("largest_slices", registered, sites)
    if deployed and unregistered:
        hint = f"; {away}, but no such site is connected" if absent else ""
        raise FlapSamError(
            f"A deployed federation needs the largest number of training slices of every site, and the run policy's "
            f"largest_slices has none for {', '.join(unregistered)}{hint}; agree on the numbers and write them there."
        )
    if absent:
        _tell_absent(away, sites, deployed, say)


def _check_ranks(job: Experiment, sites: Sequence[str], deployed: bool, say: Say) -> None:
    """A rank for a name that fits no site is a mistake, or for a site that is away."""
    absent, away = _absent("ranks", job.ranks, sites)
    if absent:
        _tell_absent(away, sites, deployed, say)


def _absent(setting: str, names: Iterable[str], sites: Sequence[str]) -> tuple[list[str], str]:
    """The names in a setting that fit no site, and a clause about them."""
    absent = sorted(set(names) - set(sites))
    return absent, f"{', '.join(absent)} {'has an entry' if len(absent) == 1 else 'have entries'} in {setting}"


def _tell_absent(away: str, sites: Sequence[str], deployed: bool, say: Say) -> None:
    """All sites of a simulation are there; one of a deployed federation may join another time."""
    if not deployed:
        raise FlapSamError(f"{away}, but no such site is there; there are {', '.join(sites)}.")
    say(f"{away}, and no such site is connected: the run starts without")


def _check_rule(job: Experiment, policy: RunPolicy, sites: int) -> None:
    """The robust rule must mean something in every round, the smallest that may close among them."""
    most = min(policy.sites_a_round or sites, sites)
    fewest = min(policy.min_sites or most, most)
    for number in range(fewest, most + 1):
        if reason := shortcoming(job.robust, job.hostile_share, number):
            raise FlapSamError(f"Rounds may close with {number} sites that count (min_sites, sites_a_round): {reason}.")
