# SPDX-License-Identifier: Apache-2.0
"""A task and the answer to it: all that the server and a site say to each other."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from flap_sam.wire.messages import EXPERIMENT, REPORT, RUN, SPOKEN, VERSION


@dataclass(frozen=True)
class Task:
    """What the server asks of sites: to train a round from a payload, or to score it.

    Args:
        name: `messages.TASK_TRAIN` or `TASK_EVALUATE`.
        experiment: the job's, as JSON; run: the run's name.
        round: that starts from the payload; rounds: of the run.
        payload: encoded as on the wire; empty in a first round that each site starts by itself.
        version: of the message, as its sender says it.
    """

    name: str
    experiment: str
    run: str
    round: int
    rounds: int
    payload: Mapping[str, Tensor]
    version: object = SPOKEN

    @property
    def entries(self) -> dict[str, object]:
        """What it says beside its tensors and the round, by the names on the wire."""
        return {EXPERIMENT: self.experiment, RUN: self.run, VERSION: self.version}


@dataclass(frozen=True)
class Answer:
    """What a site answers; the server has not checked any of it yet.

    Args:
        round: of the task.
        update: the site's tensors, encoded as on the wire; empty where it has scored.
        report: a `TrainReport` or an `Evaluation` as plain values.
        version: of the message, as its sender says it.
    """

    round: object
    update: object
    report: object
    version: object = SPOKEN

    @property
    def entries(self) -> dict[str, object]:
        """What it says beside its tensors and the round, by the names on the wire."""
        return {REPORT: self.report, VERSION: self.version}
