# SPDX-License-Identifier: Apache-2.0
"""Which payload of a run is the best: by validation Dice, in a federation and without one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from flap_sam.errors import FlapSamError
from flap_sam.foundation.means import mean_of_known

Validation = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Candidate:
    """A payload and its validation Dice.

    Args:
        round: the round that starts from it.
        validation: by site, its Dice by class; None for a class that no case of the site has, or that it withholds.
            Empty where nobody has scored the payload yet.
    """

    tensors: Mapping[str, Tensor]
    round: int
    validation: Validation = field(default_factory=dict)

    @property
    def dice(self) -> float | None:
        """The mean of the sites' means over their classes; None where there is none."""
        return mean_of_sites(self.validation.values())


def mean_of_sites(by_site: Iterable[Sequence[float | None]]) -> float | None:
    """The mean of the sites' means over their classes, of what is known."""
    return mean_of_known([mean_of_known(by_class) for by_class in by_site])


def improves(candidate: Candidate, best: Candidate | None, best_by: int | None = None) -> bool:
    """Whether to keep a candidate in place of the best so far.

    Two payloads are compared on the sites and classes that have scored both: other sites may answer in other rounds,
    and theirs may be the harder cases. One that has no such score never takes the place of one that has scores. Of
    equals, and while nothing has been scored, the later one is kept.

    Args:
        best_by: the class, counted from 1, whose Dice decides; None means the mean over all.
    """
    if best is None or not any(_known(best.validation, best_by)):
        return True
    both = [*_shared(candidate.validation, best.validation, best_by)]
    new, old = mean_of_sites(new for new, _ in both), mean_of_sites(old for _, old in both)
    return new is not None and old is not None and new >= old


def is_stale(best: Candidate | None, current: int, patience: int | None) -> bool:
    """Whether the rounds before `current` have scored as many payloads as `patience` without a better one."""
    return patience is not None and best is not None and current - 1 - best.round >= patience


def check_class(best_by: int | None, classes: int) -> None:
    """Raises a FlapSamError where the policy names a class that the experiment does not have."""
    if best_by is not None and best_by > classes:
        raise FlapSamError(f"The run policy's best_by is class {best_by}; the experiment has classes 1 to {classes}.")


def _chosen(by_class: Sequence[float | None], best_by: int | None) -> Sequence[float | None]:
    return by_class if best_by is None else by_class[best_by - 1 : best_by]


def _known(validation: Validation, best_by: int | None) -> Iterator[bool]:
    """For every site, whether it has scored what decides."""
    for by_class in validation.values():
        yield any(dice is not None for dice in _chosen(by_class, best_by))


def _shared(new: Validation, old: Validation, best_by: int | None) -> Iterator[tuple[list[float], list[float]]]:
    """By site that has scored both, its Dice of either by class, of those that it has scored in both."""
    for site in sorted(new.keys() & old.keys()):
        pairs = zip(_chosen(new[site], best_by), _chosen(old[site], best_by), strict=True)
        if known := [(now, then) for now, then in pairs if now is not None and then is not None]:
            yield [now for now, _ in known], [then for _, then in known]
