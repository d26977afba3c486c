"""How good a payload is, in figures: of one case, and of a site's cases."""

from dataclasses import dataclass

ByClass = tuple[float | None, ...]


@dataclass(frozen=True)
class CaseScore:
    """One case by class, background left out: Dice, None where the truth has no voxel of the class.

    Args:
        hausdorff, surface_dice: see `surfaces`; empty where they were not asked for.
    """

    case: str
    dice: ByClass
    hausdorff: ByClass = ()
    surface_dice: ByClass = ()


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A payload on one site's cases: all that leaves the site of it. Lists are by class, None for what no case has.

    Args:
        validation, test: mean Dice over the cases; validation_cases, test_cases: how many there are; None
            where the site withholds it.
        test_spread: sample standard deviation over the test cases that have the class; None for fewer than two.
        hausdorff: mean over the test cases, mm; surface_dice: mean; both all None where they were not asked for.
    """

    validation: list[float | None]
    validation_cases: int | None
    test: list[float | None]
    test_spread: list[float | None]
    test_cases: int | None
    hausdorff: list[float | None]
    surface_dice: list[float | None]
