# SPDX-License-Identifier: Apache-2.0
"""Commands for kits, jobs and a hospital's own checks."""

from pathlib import Path
from typing import Annotated

import typer

from flap_sam.commands.app import DEPLOY, Changes, JobPreset, app


@app.command(rich_help_panel=DEPLOY)
def stage(
    job: Annotated[Path, typer.Argument(help="a folder of jobs/")],
    out: Annotated[Path, typer.Option(help="the copy to submit; a new folder")],
    preset: JobPreset = None,
    changes: Changes = None,
) -> None:
    """Make the copy of a job that is submitted, and say what it will run and where."""
    from flap_sam.commands.tables.deployment import staged_text
    from flap_sam.commands.tables.presets import preset_text
    from flap_sam.config import presets
    from flap_sam.config.job import Job, parsed
    from flap_sam.deployment.stage import stage as make

    found, own = Job.read(job), parsed(changes or [])
    changed = presets.changes(found, preset, own)
    staged = make(job, out, changed)
    if preset:
        typer.echo(preset_text(found, changed, own))
    typer.echo(staged_text(staged))


@app.command(rich_help_panel=DEPLOY)
def kit(
    folder: Annotated[Path, typer.Argument(help="the prod_NN folder that `nvflare provision` made")],
    job: Annotated[list[Path], typer.Option(help="a staged job that the hospitals agree to; may be repeated")],
    policy: Annotated[Path | None, typer.Option(help="other policies of servers and sites than the package's")] = None,
    wheelhouse: Annotated[Path | None, typer.Option(help="wheels to pin by hash in every kit")] = None,
) -> None:
    """Lay the project's policies into startup kits: rights, classes, the gate, and what it lets through."""
    from flap_sam.config.job import Job
    from flap_sam.deployment.kit import POLICIES, lay

    for done in lay(folder, policy or POLICIES, [Job.read(path).experiment() for path in job], wheelhouse):
        typer.echo(f"policy laid into {done}")


@app.command(rich_help_panel=DEPLOY)
def check(
    folder: Annotated[Path, typer.Argument(metavar="KIT", help="a hospital's startup kit")],
) -> None:
    """Examine a hospital's kit before it starts: policy, agreement, data, checkpoint, device, connection."""
    from flap_sam.commands.tables.deployment import check_table
    from flap_sam.deployment.check import check as examine

    findings = examine(folder)
    typer.echo(check_table(findings))
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


@app.command(rich_help_panel=DEPLOY)
def audit(
    file: Annotated[Path, typer.Argument(help="a hospital's audit log, flap_audit.jsonl")],
    head: Annotated[Path | None, typer.Option(help="where the gate keeps the log's head, apart from it")] = None,
) -> None:
    """Verify an audit log: every line is bound to the one before, and with --head the last line is the last."""
    from flap_sam.deployment.audit import verified
    from flap_sam.foundation.text import harmless

    typer.echo(harmless(verified(file, head)))
