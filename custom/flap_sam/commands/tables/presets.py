# SPDX-License-Identifier: Apache-2.0
"""What a preset has changed of a job, as text."""

from collections.abc import Mapping

from rich.table import Table

from flap_sam.config.experiment import DEFAULTS
from flap_sam.config.job import Job
from flap_sam.config.paper import DATA_SETS, NOTES
from flap_sam.config.presets import PAPER
from flap_sam.foundation.text import as_text


def preset_text(job: Job, changes: Mapping[str, object], own: Mapping[str, object]) -> str:
    """Every setting that the paper's preset changed, and what is no setting.

    Args:
        job: as its folder has it; changes: as `presets.changes` gave them; own: those of the settings that were named
            beside the preset.
    """
    before = {**DEFAULTS, **job.settings}
    table = Table(title=f"What the preset {PAPER} changes")
    for column in ("setting", "the job's", "now"):
        table.add_column(column)
    for name, value in changes.items():
        if name not in own and before[name] != value:
            table.add_row(name, str(before[name]), str(value))
    return as_text(table, _sites({**before, **changes}["dataset"]), *NOTES)


def _sites(dataset: object) -> str:
    known = DATA_SETS.get(str(dataset))
    if known is None:
        return f"The paper has no data set {dataset}: classes and sites are the job's own."
    return f"The paper's sites of {dataset}: {len(known.sites)} ({', '.join(known.sites)})."
