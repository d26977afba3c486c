"""Tables and figures as plain text."""

from collections.abc import Iterable
from io import StringIO

from rich.console import Console, RenderableType

from flap_sam.means import mean_of_known, spread_of_known

WIDTH = 120


def as_text(*parts: RenderableType) -> str:
    """What rich would print, without colours."""
    out = Console(file=StringIO(), width=WIDTH, highlight=False)
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, str), markup=False)
    return out.file.getvalue()


def figure(value: float | None, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def mean_and_spread(values: Iterable[float | None], digits: int) -> str:
    """Mean ± sample standard deviation of what is known."""
    known = list(values)
    spread = spread_of_known(known)
    return figure(mean_of_known(known), digits) + ("" if spread is None else f" ± {figure(spread, digits)}")
