# SPDX-License-Identifier: Apache-2.0
"""How far a site is in a round, for the person at its console."""

import time
from collections.abc import Callable
from datetime import timedelta

from torch import Tensor

LINE_SECONDS = 10.0

Say = Callable[[str], None]


def silent(_: str) -> None:
    """Say nothing."""


class Progress:
    """A line about a round every `LINE_SECONDS`; a round that is shorter has none.

    The loss is read from the device only when a line is due: no other step waits for it.

    Args:
        say: takes a line, which holds numbers and the site's name in the federation alone.
    """

    def __init__(self, say: Say, site: str, round_number: int) -> None:
        self._say = say
        self._where = f"round {round_number:3}  {site:12}"
        self._start = self._told = time.monotonic()

    def __call__(self, done: int, steps: int, loss: Tensor) -> None:
        """Take note that of so many steps some are done, the last of them with this loss."""
        if done == steps or time.monotonic() - self._told < LINE_SECONDS:
            return
        value = loss.item()
        self._told = time.monotonic()
        left = timedelta(seconds=round((self._told - self._start) / done * (steps - done)))
        self._say(f"{self._where}  step {done} of {steps}  loss {value:.4f}  {left} left")
