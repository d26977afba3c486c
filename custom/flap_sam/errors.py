# SPDX-License-Identifier: Apache-2.0
"""The one error that a person is meant to read, and the codes that stand for it outside the site."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a site gives no answer: all that leaves it, one word of this list (see `sentence`)."""

    STOPPED = "stopped"
    ABORTED = "aborted"
    NO_DATA = "no-data"
    STORE = "store"
    SHARED_STORE = "shared-store"
    STATE = "state"
    CLASSES = "classes"
    CHECKPOINT = "checkpoint"
    BACKBONE = "backbone"
    DEVICE = "device"
    PRECISION = "precision"
    DIVERGED = "diverged"
    RANGE = "range"
    EXPERIMENT = "experiment"
    TASK = "task"
    VERSION = "version"
    PAYLOAD = "payload"
    AGREEMENT = "gate-agreement"
    NOT_AGREED = "gate-not-agreed"
    PAYLOAD_NORM = "gate-payload-norm"
    REPLAYED = "gate-replayed"
    RUN = "gate-run"
    RUNS = "gate-runs"
    EVALUATIONS = "gate-evaluations"
    RESULT = "gate-result"
    FORM = "gate-form"
    NORM = "gate-norm"
    BUDGET = "gate-budget"
    LEDGER = "gate-ledger"
    AUDIT = "gate-audit"
    CHANGED = "gate-changed"
    UNMASKED = "gate-unmasked"
    PEERS = "gate-peers"
    STEP = "gate-step"
    LIST = "gate-list"
    GATE = "gate-fault"

    @property
    def sentence(self) -> str:
        """What the code means, for the server's console and its round log."""
        return SENTENCES[self]

    @classmethod
    def of(cls, found: object) -> "Reason":
        """The reason of a code that another party sent; a code that is none of ours says no more than `STOPPED`."""
        return next((reason for reason in cls if reason == found), cls.STOPPED)


SENTENCES = {
    Reason.STOPPED: "it stopped; its own log says why",
    Reason.ABORTED: "its round was aborted",
    Reason.NO_DATA: "no data is configured at the site",
    Reason.STORE: "its data store is missing or cannot be used",
    Reason.SHARED_STORE: "its data are those of another site of the run",
    Reason.STATE: "its folder for the run's state cannot be written",
    Reason.CLASSES: "its data store has another number of classes than the experiment",
    Reason.CHECKPOINT: "its SAM checkpoint is missing, damaged or not the one that the site pins",
    Reason.BACKBONE: "its SAM checkpoint is of another backbone than the experiment's",
    Reason.DEVICE: "its device cannot be used",
    Reason.PRECISION: "its device cannot compute in the precision that the site asks for",
    Reason.DIVERGED: "its training left the range of numbers; a lower learning rate may help",
    Reason.RANGE: "its update does not fit into the experiment's payload_dtype",
    Reason.EXPERIMENT: "the task's experiment is none, or cannot be run there",
    Reason.TASK: "the task is none that a site answers",
    Reason.VERSION: "it reads another version of the messages than the server sends; let all run the same flap-sam",
    Reason.PAYLOAD: "the payload it was sent is not one of the experiment",
    Reason.AGREEMENT: "its gate has no agreement that can be read, so nothing leaves the site",
    Reason.NOT_AGREED: "its gate has not agreed to this experiment",
    Reason.PAYLOAD_NORM: "its gate refuses a payload whose norm is beyond the agreed one",
    Reason.REPLAYED: "its gate has answered this round before",
    Reason.RUN: "its gate finds the run under another job or another experiment",
    Reason.RUNS: "its gate has agreed to no further run of this experiment",
    Reason.EVALUATIONS: "its gate has agreed to no further evaluation in this run",
    Reason.RESULT: "its gate stopped an answer that is not what was agreed",
    Reason.FORM: "its gate stopped adapters that are not in canonical form",
    Reason.NORM: "its gate stopped an update whose norm is beyond the agreed one",
    Reason.BUDGET: "its privacy budget is spent",
    Reason.LEDGER: "its gate's ledger is missing or damaged, so nothing leaves the site",
    Reason.AUDIT: "its gate's audit log cannot be written, so nothing leaves the site",
    Reason.CHANGED: "its gate stopped an answer that was changed after it had passed",
    Reason.UNMASKED: "its gate lets no update leave without masks",
    Reason.PEERS: "its gate does not accept a site's certificate, key or signature",
    Reason.STEP: "its gate finds a step of a secure sum asked twice, out of order or too late",
    Reason.LIST: "its gate refuses the list of sites of a secure sum",
    Reason.GATE: "its gate could not judge the message, so nothing leaves the site",
}

OF_NO_DATA = frozenset(
    {
        *(Reason.NO_DATA, Reason.STORE, Reason.CLASSES, Reason.CHECKPOINT, Reason.BACKBONE, Reason.DEVICE),
        *(Reason.PRECISION, Reason.EXPERIMENT, Reason.TASK, Reason.VERSION, Reason.AGREEMENT, Reason.NOT_AGREED),
        *(Reason.PAYLOAD_NORM, Reason.REPLAYED, Reason.RUN, Reason.RUNS, Reason.EVALUATIONS, Reason.BUDGET),
        *(Reason.LEDGER, Reason.AUDIT, Reason.CHANGED, Reason.UNMASKED, Reason.PEERS, Reason.STEP, Reason.LIST),
    }
)
"""Reasons that the question, the site's settings and its counts decide: what its data hold has no part in them."""


class FlapSamError(Exception):
    """One sentence: which file or tensor, what was found, what was expected, what to do.

    Args:
        message: for whoever runs this process; it may name files and never leaves the site.
        reason: the code that stands for it outside.
    """

    def __init__(self, message: str, reason: Reason = Reason.STOPPED) -> None:
        super().__init__(message)
        self.reason = reason
