"""The progress bar of commands that work through many cases."""

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def bar(count: ProgressColumn) -> Progress:
    """A bar on the error output of a terminal, silent elsewhere.

    Args:
        count: the column that says how much is done.
    """
    columns = TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
