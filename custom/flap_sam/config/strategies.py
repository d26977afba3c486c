# SPDX-License-Identifier: Apache-2.0
"""The strategies by name: what each says of itself to every party of a run, and those that other packages bring.

A package brings a strategy by an entry point of the group `flap_sam.strategies`: its name is the strategy's, its object
a class derived from `lowrank.strategies.Strategy`. An experiment may name it wherever the package is installed. A site
loads no other class than those that its own environment registers so, and only one that an experiment names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flap_sam.errors import FlapSamError, Reason

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "flap_sam.strategies"
SETTINGS = ("split", "energy", "sketch_width")

Role = Literal["trained", "even", "odd", "renewed", "frozen"]


def trains(role: Role, number: int) -> bool:
    """Whether a factor of this role trains in the round of this number; what trains travels to the server after it."""
    return role == "trained" or role == ("odd" if number % 2 else "even")


class Roles(NamedTuple):
    """What happens to A and B of every adapter: the one mask of what trains and what travels, by round.

    "trained": it trains in every round; "even", "odd": in rounds of even or odd number; "renewed": in none, the server
    makes it anew. All of these are in each payload. "frozen": it stays as drawn at the site and never travels.
    """

    A: Role = "trained"
    B: Role = "trained"

    @property
    def take_turns(self) -> bool:
        """Whether a factor is in the payload and does not train in some round."""
        return not {"even", "odd", "renewed"}.isdisjoint(self)

    def fixed_in(self, number: int) -> Literal["A", "B"]:
        """The factor that is common to all sites in a round, of roles that take turns."""
        return "B" if trains(self.A, number) else "A"


TOGETHER = Roles()
APART = (Roles(A="frozen"), Roles(A="odd", B="even"), Roles(A="renewed"))


@dataclass(frozen=True)
class StrategyTraits:
    """What a site and its gate must know of a strategy; its arithmetic is the server's.

    Args:
        sums_changes: the server sums the changes B A of the adapters. They travel in canonical form then, which a
            site's gate checks, and sites may have ranks of their own. Otherwise what travels of A and B is averaged
            for itself.
        roles: when A and B train and travel: both in every round, B alone (A "frozen"), in turn (A "odd", B "even"), or
            B alone beside an A that the server makes anew (A "renewed").
        reads: those of `SETTINGS` that the strategy is made with; an experiment that sets another is refused.

    Raises:
        ValueError: they do not go together.
    """

    sums_changes: bool
    roles: Roles = TOGETHER
    reads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.roles not in (TOGETHER, *APART):
            raise ValueError(f"a strategy's roles are {tuple(self.roles)}; expected one of the four that are described")
        if self.sums_changes and self.roles != TOGETHER:
            raise ValueError("a strategy that sums the changes B A needs A and B from the sites; let it train both")
        if unknown := sorted(set(self.reads) - set(SETTINGS)):
            raise ValueError(f"a strategy reads {', '.join(unknown)}; expected some of {', '.join(SETTINGS)}")


REFACTORISES = StrategyTraits(sums_changes=True, reads=("split", "energy"))
SKETCHES = StrategyTraits(sums_changes=True, reads=SETTINGS)
AVERAGES_FACTORS = StrategyTraits(sums_changes=False)
KEEPS_A = StrategyTraits(sums_changes=False, roles=Roles(A="frozen"))
ALTERNATES = StrategyTraits(sums_changes=False, roles=Roles(A="odd", B="even"))
RENEWS_A = StrategyTraits(sums_changes=False, roles=Roles(A="renewed"))
OURS = {
    "svd": REFACTORISES,
    "factor-average": AVERAGES_FACTORS,
    "freeze-a": KEEPS_A,
    "residual": REFACTORISES,
    "alternate": ALTERNATES,
    "fedsvd": RENEWS_A,
    "sketch": SKETCHES,
}


def known() -> tuple[str, ...]:
    """The names that an experiment may give in this environment.

    Raises:
        FlapSamError: see `installed`.
    """
    return (*OURS, *installed())


def is_known(name: str) -> bool:
    """Whether an experiment may name this strategy; raises as `known` where it is none of ours."""
    return name in OURS or name in installed()


def traits(name: str) -> StrategyTraits:
    """What a strategy says of itself; one of another package is loaded for that.

    Args:
        name: one of `known`.

    Raises:
        FlapSamError: see `load`.
    """
    if name in OURS:
        return OURS[name]
    found: StrategyTraits = load(name).traits
    return found


def reads(name: object, setting: str) -> bool:
    """Whether the strategy of this name reads an experiment's setting; what is no strategy's name reads none."""
    if not isinstance(name, str) or not is_known(name):
        return False
    found = traits(name)
    return found.sums_changes if setting == "ranks" else setting in found.reads


@cache
def installed() -> Mapping[str, "EntryPoint"]:
    """The strategies that other packages of this environment bring, by name.

    Raises:
        FlapSamError: one has the name of another.
    """
    from importlib.metadata import entry_points  # a tenth of a second, for those who name a strategy not of ours

    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        if entry.name in OURS or entry.name in found:
            other = found[entry.name].value if entry.name in found else "flap_sam itself"
            raise _public(
                f"{entry.value} is installed as the strategy {entry.name!r}, and so is that of {other}; remove a "
                "package, or rename the strategy in it."
            )
        found[entry.name] = entry
    return found


@cache
def load(name: str) -> Any:
    """The class of an installed strategy.

    Raises:
        FlapSamError: it cannot be imported, or does not say its traits.
    """
    entry = installed()[name]
    try:
        kind = entry.load()
    except Exception as error:  # whatever a package of others does when it is imported
        raise _public(
            f"Strategy {name!r} cannot be loaded from {entry.value} ({type(error).__name__}: {error}); install its "
            "package again, in a version for this one."
        ) from error
    if not isinstance(getattr(kind, "traits", None), StrategyTraits):
        raise _public(
            f"Strategy {name!r} is {entry.value}, which does not say its traits; expected a class derived from "
            "flap_sam.lowrank.strategies.Strategy with `traits`."
        )
    return kind


def _public(message: str) -> FlapSamError:
    """The error of an experiment that cannot be run here."""
    return FlapSamError(message, Reason.EXPERIMENT)
