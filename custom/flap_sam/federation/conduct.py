"""How a run is conducted: the operator's part of a job, which says nothing of what is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from flap_sam.errors import FlapSamError

WHOLE = "a whole number, 1 or more, or null"
SECONDS = "a number of seconds, 0 or more"


@dataclass(frozen=True, kw_only=True)
class Conduct:
    """Who must take part, how long a round waits, when a run stops, what a site may weigh.

    Args:
        min_sites: sites that must be connected at the start and count in every round; None means all connected ones.
        sites_a_round: sites drawn for each round, by the experiment's seed; None means all.
        round_timeout: seconds after which a task closes with the answers that are there; 0 means never.
        wait_after_min: seconds that a task still waits once `min_sites` have been counted; None means for all.
        patience: rounds without a better validation Dice after which the run stops; None means it never does.
        norm_limit: a site's B A, or its other tensors, may be this many times the round's median in norm; None
            means any.
        largest_slices: training slices that a site is registered with and may not exceed, by its name.
        resume: name of the run to continue, or "latest" of this experiment; None starts anew.
    """

    min_sites: int | None = None
    sites_a_round: int | None = None
    round_timeout: float = 0.0
    wait_after_min: float | None = None
    patience: int | None = None
    norm_limit: float | None = 10.0
    largest_slices: Mapping[str, int] = field(default_factory=dict)
    resume: str | None = None

    def __post_init__(self) -> None:
        for name in ("min_sites", "sites_a_round", "patience"):
            value = getattr(self, name)
            if value is not None and not (_is_whole(value) and value >= 1):
                _refuse(name, value, WHOLE)
        for name in ("round_timeout", "wait_after_min"):
            value = getattr(self, name)
            if not (_is_number(value) and value >= 0) and not (value is None and name == "wait_after_min"):
                _refuse(name, value, SECONDS)
        if self.norm_limit is not None and not (_is_number(self.norm_limit) and self.norm_limit > 1):
            _refuse("norm_limit", self.norm_limit, "a number above 1, or null")
        limits = self.largest_slices
        if not isinstance(limits, Mapping) or not all(_is_whole(n) and n >= 1 for n in limits.values()):
            _refuse("largest_slices", limits, "an object of whole numbers by the site's name")
        if self.resume is not None and not isinstance(self.resume, str):
            _refuse("resume", self.resume, 'the name of a run, "latest" or null')
        if self.min_sites and self.sites_a_round and self.min_sites > self.sites_a_round:
            _refuse("min_sites", self.min_sites, f"at most sites_a_round, {self.sites_a_round}")

    @classmethod
    def from_dict(cls, settings: object) -> "Conduct":
        """Read the conduct from a job's settings; an unknown key is an error, not a silent default."""
        known = [entry.name for entry in fields(cls)]
        if settings is None:
            return cls()
        if not isinstance(settings, Mapping) or set(settings) - set(known):
            _refuse("settings", settings, "an object of " + ", ".join(known))
        return cls(**settings)


def _is_whole(value: object) -> bool:
    return type(value) is int


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _refuse(name: str, found: object, expected: str) -> None:
    raise FlapSamError(f"The conduct's {name} is {found!r}; expected {expected}.")
