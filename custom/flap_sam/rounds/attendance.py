# SPDX-License-Identifier: Apache-2.0
"""Which sites take part in a job: those that are connected at its start, and those that join later."""

from collections.abc import Callable

from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError
from flap_sam.rounds import preconditions
from flap_sam.training.progress import Say


class Attendance:
    """The sites of a job, in the order of their names.

    Args:
        connected: gives the names of the sites that are connected.
        deployed: the job runs in a deployed federation, where every site must be registered.

    Raises:
        FlapSamError: the job cannot be run over the connected sites.
    """

    def __init__(
        self, connected: Callable[[], list[str]], job: Experiment, policy: RunPolicy, deployed: bool, say: Say
    ) -> None:
        self._connected, self._job, self._policy, self._deployed, self._say = connected, job, policy, deployed, say
        self.sites = sorted(connected())
        self._turned_away: set[str] = set()
        preconditions.check(job, policy, self.sites, deployed, say)

    def renew(self, number: int) -> None:
        """Let sites join that have connected since, from the given round on; one that may not is told of once.

        Nobody is taken off the list: a site that is away is asked, and takes part again once it answers.
        """
        for site in sorted(self._connected()):
            if site in self.sites or site in self._turned_away:
                continue
            more = sorted([*self.sites, site])
            try:
                preconditions.check(self._job, self._policy, more, self._deployed, self._say)
            except FlapSamError as error:
                self._turned_away.add(site)
                self._say(f"{site} has connected and does not join: {error}")
            else:
                self.sites = more
                self._say(f"{site} has connected and joins in round {number}")
