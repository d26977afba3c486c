# SPDX-License-Identifier: Apache-2.0
"""Sites of this process: a federation of one, without a wire."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flap_sam.data.store import SiteStore
from flap_sam.records.pictures import FOLDER
from flap_sam.rounds.answers import Answers
from flap_sam.training.member import Member
from flap_sam.training.progress import Say
from flap_sam.wire.exchange import Answer, Task
from flap_sam.wire.messages import TASK_TRAIN

CASES = "cases"


class InProcess:
    """One member that trains, and the stores that it scores; the `Sites` of a run without a federation.

    Args:
        name: of the member.
        stores: by the site's name.
        out: the folder for pictures and tables of the test cases.
        say: takes a line now and then on how far a round is.
    """

    def __init__(self, name: str, member: Member, stores: Mapping[str, SiteStore], out: Path, say: Say) -> None:
        self._name, self._member, self._stores, self._out, self._say = name, member, stores, out, say

    def connected(self) -> list[str]:
        return [self._name]

    def scoring(self, trained: Sequence[str]) -> list[str]:
        return [*self._stores]

    def ask(self, task: Task, asked: Sequence[str], answers: Answers) -> None:
        """What goes wrong here ends the run with its own sentence."""
        for name in asked:
            answers.take(name, self._answer(task, name))

    def late(self) -> list[str]:
        return []

    def gone(self) -> list[str]:
        return []

    def stopped(self) -> bool:
        return False

    def _answer(self, task: Task, name: str) -> Answer:
        if task.name == TASK_TRAIN:
            return self._member.train(task, self.stopped, self._say)
        return self._member.score(task, self._out / FOLDER / name, self._out / CASES / name, self._stores[name])
