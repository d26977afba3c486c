"""Tables and figures as plain text."""

from io import StringIO

from rich.console import Console, RenderableType

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
