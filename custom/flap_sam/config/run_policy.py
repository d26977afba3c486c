# SPDX-License-Identifier: Apache-2.0
"""How a run is conducted: the operator's part of a job, which says nothing of what is trained."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from flap_sam.config.settings import Settings
from flap_sam.foundation.limits import Check
from flap_sam.foundation.names import is_name, is_run_name

SUFFIX = ".safetensors"
FIRST_ROUND = 10.0


def _is_payload_name(found: str) -> bool:
    return is_name(found) and found.endswith(SUFFIX)


Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]
Run = Annotated[str, Check(is_run_name, 'the name of a run, or "latest"')]  # which is_run_name takes for one
Start = Annotated[str, Check(_is_payload_name, f"the name of a {SUFFIX} file")]


class RunPolicy(Settings):
    """Who must take part, how long a round waits, when a run stops, what a site may weigh.

    Args:
        min_sites: sites that must be connected at the start and count in every round; None means all connected ones.
        sites_a_round: sites drawn for each round, by the experiment's seed; None means all.
        round_timeout: seconds after which a task closes with the answers that are there; 0 means never.
        first_round_timeout: the same for the first task of a job, in which the sites also load their weights and data,
            and encode their slices where the image encoder is frozen; None means ten times `round_timeout`.
        wait_after_min: seconds that a task still waits once `min_sites` have been counted; None means for all.
        patience: rounds without a better validation Dice after which the run stops; None means it never does.
        best_by: class, counted from 1, whose validation Dice says which payload is the best; None means the mean over
            all classes.
        largest_norm: what a site changes in a round, its B A and all its other tensors together, may have this
            Frobenius norm; agreed beforehand, it holds whatever the other sites send. None means any.
        norm_limit: among three sites or more a site's B A, or its other tensors, may be this many times the median
            of the other sites in norm; None means any.
        largest_share: of the weights that one site may have, among three sites or more; who has more slices counts
            for fewer.
        largest_slices: training slices that a site is registered with and may not exceed, by its name; every site of
            a deployed federation needs an entry.
        resume: name of the run to continue, or "latest" of this experiment; None starts anew. The job's `rounds` may be
            more than the run's, all else of the experiment is the same.
        start: name of a payload's file in the folder `payloads` of the server, from which round 0 starts; None means
            that each site starts from the experiment's seed and its own weights, and must stand beside `resume`.
    """

    called: ClassVar[str] = "run policy"

    min_sites: Count | None = None
    sites_a_round: Count | None = None
    round_timeout: Seconds = 0.0
    first_round_timeout: Seconds | None = None
    wait_after_min: Seconds | None = None
    patience: Count | None = None
    best_by: Count | None = None
    largest_norm: Annotated[float, Field(gt=0)] | None = 1000.0
    norm_limit: Annotated[float, Field(gt=1)] | None = 10.0
    largest_share: Annotated[float, Field(ge=0.1, le=1)] = 0.6
    largest_slices: Mapping[str, Count] = {}
    resume: Run | None = None
    start: Start | None = None

    @model_validator(mode="after")
    def _fit_each_other(self) -> Self:
        if self.min_sites and self.sites_a_round and self.min_sites > self.sites_a_round:
            raise self.refusal("min_sites", self.min_sites, f"at most sites_a_round, {self.sites_a_round}")
        if self.wait_after_min is not None and self.min_sites is None:
            expected = "null where min_sites is null: then a task waits for all sites"
            raise self.refusal("wait_after_min", self.wait_after_min, expected)
        if self.resume and self.start:
            expected = "null where resume is set: a resumed run goes on from its own payload"
            raise self.refusal("start", self.start, expected)
        return self

    def timeout(self, first: bool) -> float:
        """Seconds after which a task closes; 0 means never.

        Args:
            first: it is the job's first.
        """
        if not first:
            return self.round_timeout
        return FIRST_ROUND * self.round_timeout if self.first_round_timeout is None else self.first_round_timeout

    def for_one(self, resume: str | None) -> "RunPolicy":
        """The policy of a federation of one: what is said of many sites falls away."""
        return self.changed(
            min_sites=None, sites_a_round=None, wait_after_min=None, largest_slices={}, start=None, resume=resume
        )

    @classmethod
    def from_dict(cls, settings: object) -> Self:
        """Read the policy from a job's settings; an unknown key is an error, not a silent default."""
        return cls() if settings is None else cls.model_validate(settings)


def drawn(sites: Sequence[str], wanted: int | None, seed: int, number: int) -> list[str]:
    """The sites of a round, the same for the same seed and the same sites.

    Args:
        wanted: how many; None means all.
    """
    if wanted is None or wanted >= len(sites):
        return list(sites)
    import numpy as np  # here, as commands that move jobs start without it

    return sorted(np.random.default_rng([seed, number]).choice(sites, wanted, replace=False).tolist())
