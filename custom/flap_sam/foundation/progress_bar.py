# SPDX-License-Identifier: Apache-2.0
"""The progress bar of commands that work through many cases."""

import math
import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def bar(count: ProgressColumn) -> Progress:
    """A bar on the error output of a terminal, silent elsewhere. The time left goes by all that is done already.

    Args:
        count: the column that says how much is done.
    """
    columns = TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn()
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not sys.stderr.isatty(), speed_estimate_period=math.inf)
