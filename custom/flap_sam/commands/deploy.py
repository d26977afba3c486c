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
    gpus: Annotated[
        list[str] | None,
        typer.Option(help="GPUs to ask for at sites that have any: a number, or site=number; repeatable, default 1"),
    ] = None,
) -> None:
    """Make the copy of a job that is submitted, and say what it will run and where."""
    from flap_sam.commands.tables.deployment import staged_text
    from flap_sam.commands.tables.presets import preset_text
    from flap_sam.config import presets
    from flap_sam.config.job import Job, parsed
    from flap_sam.deployment.stage import gpus_asked
    from flap_sam.deployment.stage import stage as make

    found, own = Job.read(job), parsed(changes or [])
    changed = presets.changes(found, preset, own)
    staged = make(job, out, changed, gpus_asked(gpus or []))
    if preset:
        typer.echo(preset_text(found, changed, own))
    typer.echo(staged_text(staged))


@app.command(rich_help_panel=DEPLOY)
def kit(
    folders: Annotated[list[Path], typer.Argument(metavar="KIT...", help="startup kits of hospitals, or the server's")],
    job: Annotated[list[Path] | None, typer.Option(help="a job to agree to, which you have read; repeatable")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="name=value in the kit's flap_site.json; repeatable")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="how many GPUs jobs may take, each one job at a time")] = None,
    policy: Annotated[Path | None, typer.Option(help="other policies of servers and sites than the package's")] = None,
    wheelhouse: Annotated[Path | None, typer.Option(help="wheels to pin by hash")] = None,
) -> None:
    """Fill in a startup kit: what the hospital agrees to, its GPUs and settings; and renew its policies."""
    from flap_sam.commands.tables.agreement import experiments_table
    from flap_sam.config.job import Job, parsed
    from flap_sam.deployment.kit import fill
    from flap_sam.federation.kits.policy import POLICIES, locked
    from flap_sam.foundation.text import as_text

    experiments = [Job.read(path).experiment() for path in job or []]
    lock = locked(wheelhouse) if wheelhouse else None
    for folder in folders:
        fill(folder, experiments, gpus, parsed(settings or []), policy or POLICIES, lock)
        typer.echo(f"filled in {folder}")
    if experiments:
        typer.echo(as_text(experiments_table("What is agreed to", experiments)))


@app.command(rich_help_panel=DEPLOY)
def check(
    folder: Annotated[Path, typer.Argument(metavar="KIT", help="a hospital's startup kit")],
) -> None:
    """Examine a hospital's kit before it starts: policy, agreement and what it permits, data, device, connection."""
    from flap_sam.commands.tables.deployment import check_text
    from flap_sam.deployment.check import agreement_of
    from flap_sam.deployment.check import check as examine

    findings = examine(folder)
    typer.echo(check_text(findings, agreement_of(folder)))
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


@app.command(rich_help_panel=DEPLOY)
def audit(
    file: Annotated[Path, typer.Argument(help="a hospital's audit log, flap_audit.jsonl")],
    head: Annotated[
        Path | None,
        typer.Option(
            help="the log's head, gate/HOSPITAL/flap_audit.jsonl.head in the state folder; shows a missing end"
        ),
    ] = None,
) -> None:
    """Verify an audit log: every line is bound to the one before, and with --head the last line is the last."""
    from flap_sam.deployment.audit import verified
    from flap_sam.foundation.text import harmless

    typer.echo(harmless(verified(file, head)))
