# SPDX-License-Identifier: Apache-2.0
"""A job's settings by the name of a preset."""

from collections.abc import Mapping

from flap_sam.config import paper
from flap_sam.config.experiment import DEFAULTS, unread
from flap_sam.config.job import Job
from flap_sam.errors import FlapSamError

PAPER = "paper"


def changes(job: Job, preset: str | None, own: Mapping[str, object]) -> dict[str, object]:
    """What takes the place of a job's settings: a preset's, and before these `own` ones.

    What the preset has and `own` settings leave unread has its default.

    Args:
        preset: "paper", the paper's settings for the job's data set; None means no preset.

    Raises:
        FlapSamError: there is no preset of this name.
    """
    if preset is None:
        return dict(own)
    if preset != PAPER:
        raise FlapSamError(f"There is no preset {preset!r} of a job; expected {PAPER}.")
    asked = paper.settings_for({**DEFAULTS, **job.settings, **own}["dataset"])
    changed = {**asked, **own}
    free = asked.keys() - own.keys()
    return changed | {n: default for n, default in unread({**job.settings, **changed}).items() if n in free}
