"""Which payload of a run is the best: by validation Dice, in a federation and without one."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Candidate:
    """A payload, the round that starts from it, and its mean validation Dice there, where that is known."""

    tensors: Mapping[str, Tensor]
    round: int
    validation: float | None


def improves(candidate: Candidate, best: Candidate | None) -> bool:
    """Whether to keep a candidate in place of the best so far; without validation cases the last one is kept."""
    if best is None or candidate.validation is None:
        return True
    return (best.validation or 0.0) <= candidate.validation
