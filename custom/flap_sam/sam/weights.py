# SPDX-License-Identifier: Apache-2.0
"""Which weights a network starts from: a checkpoint of the site, the bundled small SAM, or random ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flap_sam.errors import FlapSamError, Reason
from flap_sam.sam import pretrained

Origin = Literal["checkpoint", "bundled", "random"]
RANDOM = Path("random")  # in the place of a checkpoint
CONFIGURE = "set FLAP_SAM_CHECKPOINT, --checkpoint, or checkpoint in flap_site.json, to SAM's weights"
NAMES: dict[Origin, str] = {
    "checkpoint": "a SAM checkpoint",
    "bundled": "the bundled small SAM",
    "random": "random weights",
}
NOTICES: dict[Origin, str] = {  # what a run says of itself that starts from no checkpoint
    "bundled": "No SAM checkpoint: the network starts from the bundled small SAM, which is good for trying the "
    f"software, not for patients. To start from SAM itself, {CONFIGURE}.",
    "random": "No SAM checkpoint: the network starts from random weights, which is good for trying the software and "
    f"for nothing else. To start from SAM itself, {CONFIGURE}.",
}


@dataclass(frozen=True)
class Weights:
    """Where a network's weights come from.

    Args:
        file: None where they are drawn from the experiment's seed.
        pin: SHA-256 that the file must have when it is loaded; None means any.
    """

    origin: Origin
    file: Path | None
    pin: str | None = None

    def __str__(self) -> str:
        return str(self.file) if self.origin == "checkpoint" else NAMES[self.origin]


def weights_for(backbone: str, checkpoint: Path | None, pin: str | None = None) -> Weights:
    """What an experiment starts from.

    Args:
        backbone: the experiment's, which may be "auto".
        checkpoint: a SAM checkpoint, or `random`; None, where nothing is configured, is the bundled small SAM.
        pin: SHA-256 that the site expects of the file; the bundled file is always held to one.

    Raises:
        FlapSamError: nothing is configured and no weights of the backbone are bundled, or its file is damaged.
    """
    if checkpoint == RANDOM:
        return Weights("random", None, pin)
    if checkpoint is not None:
        return Weights("checkpoint", checkpoint, pin)
    if backbone in ("auto", pretrained.BACKBONE):
        return Weights("bundled", pretrained.checked(), pin or pretrained.SHA256)
    message = (
        f"The experiment's backbone is {backbone}, of which no weights are bundled; {CONFIGURE} for it, or to `random`."
    )
    raise FlapSamError(message, Reason.CHECKPOINT)
