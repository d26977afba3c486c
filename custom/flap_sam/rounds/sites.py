# SPDX-License-Identifier: Apache-2.0
"""The sites of a run as the loop of rounds sees them: FLARE's, or those of this process."""

from collections.abc import Collection, Sequence
from typing import Protocol

from flap_sam.rounds.answers import Answers
from flap_sam.wire.exchange import Task


class Sites(Protocol):
    """The sites of a run, and the way to them."""

    def connected(self) -> list[str]:
        """Names of the sites that are there to train."""

    def scoring(self, trained: Sequence[str]) -> list[str]:
        """Names of the sites that score a payload, where these have trained it."""

    def ask(self, task: Task, asked: Sequence[str], answers: Answers) -> None:
        """Send a task and hand on every answer and every failure, until all have come or `answers.is_over()`."""

    def late(self) -> list[str]:
        """Whose answers came after their task was closed, since this was last asked."""

    def gone(self) -> Collection[str]:
        """Whose process has ended."""

    def stopped(self) -> bool:
        """Whether the run is to end."""
