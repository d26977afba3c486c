# SPDX-License-Identifier: Apache-2.0
"""What an experiment says of its secure sums, and the threshold that follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass

from flap_sam.errors import FlapSamError, Reason

UPDATE = "update"
SKETCH_Y = "sketch-y"
SKETCH_Z = "sketch-z"

FEWEST_SITES, MOST_SITES = 3, 1000
RING = 2**32
HALF = RING // 2


@dataclass(frozen=True)
class Terms:
    """An experiment's terms for secure sums, which every one of its sites has agreed to.

    Args:
        experiment: SHA-256 of the job's experiment.
        caps: the largest number of slices that a site counts for, by its name; its names are the sites asked.
        colluders: how many sites may conspire with the server.
        least_sites: the fewest sites that a sum may have.

    Raises:
        FlapSamError: a sum could have fewer than two honest sites, or leave the ring.
    """

    experiment: bytes
    caps: Mapping[str, int]
    colluders: int
    least_sites: int

    def __post_init__(self) -> None:
        if not FEWEST_SITES <= len(self.caps) <= MOST_SITES:
            raise _refused(f"caps name {len(self.caps)} sites; masks need {FEWEST_SITES} to {MOST_SITES}")
        if min(self.caps.values()) < 1 or sum(self.caps.values()) >= HALF:
            raise _refused("a cap is below 1, or the caps add up to 2^31 or more")
        if self.colluders < 0 or not self.colluders + 2 <= self.least_sites <= len(self.caps):
            raise _refused(
                f"least_sites is {self.least_sites} with {self.colluders} colluders; expected "
                f"{self.colluders + 2} to {len(self.caps)}, so that a sum has two honest sites at least"
            )

    def threshold(self, sites: int) -> int:
        """The number t of sites that restore a secret: the smallest with 2 t > n + c, for n sites with keys."""
        return (sites + self.colluders) // 2 + 1

    def fewest(self, sites: int) -> int:
        """The fewest sites that may go on after the first step, of n with keys."""
        return max(self.threshold(sites), self.least_sites)


def _refused(found: str) -> FlapSamError:
    return FlapSamError(f"The experiment cannot be masked: {found}.", Reason.EXPERIMENT)


@dataclass(frozen=True)
class Asked:
    """Which sum of which job a task belongs to, as FLARE and the task's own entries say.

    Args:
        round: of the run.
    """

    terms: Terms
    run: str
    job: str
    round: int
