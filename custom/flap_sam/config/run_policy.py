# SPDX-License-Identifier: Apache-2.0
"""How a run is conducted: the operator's part of a job, which says nothing of what is trained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import NoReturn

import numpy as np

from flap_sam.errors import FlapSamError
from flap_sam.foundation.names import is_name, is_run_name

SUFFIX = ".safetensors"
FIRST_ROUND = 10.0
WHOLE = "a whole number, 1 or more, or null"
SECONDS = "a number of seconds, 0 or more"
EXPECTED = {
    "min_sites": WHOLE,
    "sites_a_round": WHOLE,
    "round_timeout": SECONDS,
    "first_round_timeout": f"{SECONDS}, or null",
    "wait_after_min": f"{SECONDS}, or null",
    "patience": WHOLE,
    "best_by": "the number of a class, 1 or more, or null",
    "largest_norm": "a number above 0, or null",
    "norm_limit": "a number above 1, or null",
    "largest_share": "a number from 0.1 to 1",
    "largest_slices": "an object of whole numbers by the site's name",
    "resume": 'the name of a run, "latest" or null',
    "start": f"the name of a {SUFFIX} file, or null; null beside resume",
}


@dataclass(frozen=True, kw_only=True)
class RunPolicy:
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
            that each site starts from the experiment's seed and its own weights.
    """

    min_sites: int | None = None
    sites_a_round: int | None = None
    round_timeout: float = 0.0
    first_round_timeout: float | None = None
    wait_after_min: float | None = None
    patience: int | None = None
    best_by: int | None = None
    largest_norm: float | None = 1000.0
    norm_limit: float | None = 10.0
    largest_share: float = 0.6
    largest_slices: Mapping[str, int] = field(default_factory=dict)
    resume: str | None = None
    start: str | None = None

    def __post_init__(self) -> None:
        wholes = {name: getattr(self, name) for name in ("min_sites", "sites_a_round", "patience", "best_by")}
        good = {name: value is None or _is_count(value) for name, value in wholes.items()}
        limits, wait = self.largest_slices, self.wait_after_min
        good["round_timeout"] = _is_number(self.round_timeout) and self.round_timeout >= 0
        for name in ("first_round_timeout", "wait_after_min"):
            seconds = getattr(self, name)
            good[name] = seconds is None or (_is_number(seconds) and seconds >= 0)
        for name, lowest in (("largest_norm", 0), ("norm_limit", 1)):
            limit = getattr(self, name)
            good[name] = limit is None or (_is_number(limit) and lowest < limit < math.inf)
        good["largest_share"] = _is_number(self.largest_share) and 0.1 <= self.largest_share <= 1
        good["largest_slices"] = isinstance(limits, Mapping) and all(_is_count(n) for n in limits.values())
        good["resume"] = self.resume is None or is_run_name(self.resume)  # as "latest" is too
        good["start"] = self.start is None or (is_name(self.start) and self.start.endswith(SUFFIX))
        for name, accepted in good.items():
            if not accepted:
                _refuse(name, getattr(self, name), EXPECTED[name])
        if self.min_sites and self.sites_a_round and self.min_sites > self.sites_a_round:
            _refuse("min_sites", self.min_sites, f"at most sites_a_round, {self.sites_a_round}")
        if wait is not None and self.min_sites is None:
            _refuse("wait_after_min", wait, "null where min_sites is null: then a task waits for all sites")
        if self.resume and self.start:
            _refuse("start", self.start, "null where resume is set: a resumed run goes on from its own payload")

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
        return replace(
            self, min_sites=None, sites_a_round=None, wait_after_min=None, largest_slices={}, start=None, resume=resume
        )

    @classmethod
    def from_dict(cls, settings: object) -> "RunPolicy":
        """Read the policy from a job's settings; an unknown key is an error, not a silent default."""
        known = [entry.name for entry in fields(cls)]
        if settings is None:
            return cls()
        if not isinstance(settings, Mapping) or set(settings) - set(known):
            _refuse("settings", settings, "an object of " + ", ".join(known))
        return cls(**settings)


def drawn(sites: Sequence[str], wanted: int | None, seed: int, number: int) -> list[str]:
    """The sites of a round, the same for the same seed and the same sites.

    Args:
        wanted: how many; None means all.
    """
    if wanted is None or wanted >= len(sites):
        return list(sites)
    return sorted(np.random.default_rng([seed, number]).choice(sites, wanted, replace=False).tolist())


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _refuse(name: str, found: object, expected: str) -> NoReturn:
    raise FlapSamError(f"The run policy's {name} is {found!r}; expected {expected}.")
