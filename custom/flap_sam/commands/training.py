# SPDX-License-Identifier: Apache-2.0
"""Commands that train: in a federation, without one, and over a grid."""

from pathlib import Path
from typing import Annotated

import typer

from flap_sam.commands.app import TRAIN, Changes, JobPreset, app
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError


@app.command(rich_help_panel=TRAIN)
def options() -> None:
    """List every setting of a job and of a site: what it means, its default, what it may be."""
    from flap_sam.commands.tables.options import markdown

    typer.echo(markdown(), nl=False)


@app.command(rich_help_panel=TRAIN)
def params(
    method: Annotated[str, typer.Option(help="fine-tuning method")] = "flap_sam",
    adapter: Annotated[str, typer.Option(help="lora, dora or mole")] = "lora",
    rank: Annotated[int, typer.Option(help="of the adapters")] = 32,
    classes: Annotated[int, typer.Option(help="without background")] = 2,
    image_size: Annotated[int | None, typer.Option(help="pixels a side; the backbone's own if left out")] = None,
    backbone: Annotated[str, typer.Option(help="vit_b, vit_l, vit_h or vit_tiny")] = "vit_b",
    paper: Annotated[bool, typer.Option("--paper", help="the paper's whole table beside its own figures")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Count what a method trains and what travels in a round. Needs neither weights nor memory."""
    from flap_sam.commands.tables import parameters

    if paper:
        typer.echo(parameters.paper_json() if as_json else parameters.paper_table())
        return
    if backbone == "auto":
        raise FlapSamError("Nothing says which backbone auto is without a checkpoint; name one.")
    asked = {"method": method, "adapter": adapter, "rank": rank, "classes": classes, "image_size": image_size}
    experiment = Experiment.from_dict(asked | {"backbone": backbone})
    typer.echo(parameters.room_json(experiment) if as_json else parameters.room_table(experiment))


@app.command(rich_help_panel=TRAIN)
def simulate(
    job: Annotated[Path, typer.Argument(help="a folder of jobs/")],
    work: Annotated[
        Path, typer.Option(help="folder for workspaces; the job gets one of its name, without results of another run")
    ],
    sites: Annotated[int, typer.Option(min=1, help="how many; each takes the data of a site of the store")],
    threads: Annotated[int | None, typer.Option(min=1, help="sites that work at a time; all if left out")] = None,
    resume: Annotated[
        str | None, typer.Option(help="a run's name, or latest: go on from its last round, perhaps to more rounds")
    ] = None,
    start: Annotated[Path | None, typer.Option(help="a payload of another run, to start from")] = None,
    preset: JobPreset = None,
    changes: Changes = None,
) -> None:
    """Run a job's federation on this machine, every site in a process: the whole of it, without a hospital.

    Sites that work at a time share the cores that the machine has free, unless OMP_NUM_THREADS is set.
    """
    from flap_sam.commands.tables.presets import preset_text
    from flap_sam.config import presets
    from flap_sam.config.job import Job, parsed
    from flap_sam.experiments.simulate import simulate as run
    from flap_sam.report.closing import closing_summary

    own, read = parsed(changes or []), Job.read(job)
    changed = presets.changes(read, preset, own)
    found = read.changed(changed)
    if preset:
        typer.echo(preset_text(read, changed, own))
    policy = found.policy.changed(resume=resume) if resume else None
    typer.echo(closing_summary(run(found, work, sites, policy=policy, threads=threads, start=start)))


@app.command(rich_help_panel=TRAIN)
def train(
    job: Annotated[Path, typer.Argument(help="a folder of jobs/")],
    out: Annotated[Path, typer.Option(help="folder for the results")],
    setting: Annotated[str, typer.Option(help="local: the data of one site; centralized: all data in one place")],
    site: Annotated[str | None, typer.Option(help="whose data, under local: as the store names it, or site-2")] = None,
    changes: Changes = None,
) -> None:
    """Run a job's experiment without a federation, for comparison: same trainer, same settings, same files."""
    from flap_sam.config.job import Job, parsed
    from flap_sam.config.site import Site
    from flap_sam.experiments.alone import train as run
    from flap_sam.records.run_record import CENTRALIZED, LOCAL
    from flap_sam.report.closing import closing_summary

    if setting not in (LOCAL, CENTRALIZED):
        raise FlapSamError(f"There is no setting {setting!r}; expected {LOCAL} or {CENTRALIZED}.")
    if (setting == LOCAL) == (site is None):
        raise FlapSamError("Name the --site of a local run; a centralized run takes all sites.")
    found, own = Job.read(job).changed(parsed(changes or [])), Site.read(None)
    run(found.experiment(), out, site=own.at(own.data, site), policy=found.policy, demo=found.demo, say=typer.echo)
    typer.echo(closing_summary(out))


@app.command(rich_help_panel=TRAIN)
def compare(
    job: Annotated[Path, typer.Argument(help="a folder of jobs/")] = Path("jobs/flap_sam_kits"),
    out: Annotated[Path, typer.Option(help="folder for the runs; those that are there are not run again")] = Path(
        "runs/compare"
    ),
    preset: Annotated[
        str | None, typer.Option(help="paper: the paper's comparison, as it was run; small: in small")
    ] = None,
    settings: Annotated[
        str | None, typer.Option(help="some of local,federated,centralized; a preset's own, else federated")
    ] = None,
    vary: Annotated[list[str] | None, typer.Option(help="name=value,value ... of the experiment; repeatable")] = None,
    seeds: Annotated[str | None, typer.Option(help="of everything random; a preset's own, else 1234")] = None,
    changes: Changes = None,
    threads: Annotated[int | None, typer.Option(min=1, help="sites that work at a time; all if left out")] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="a .md file: tables, figure, claims; what the .jsonl beside it holds is not run again"),
    ] = None,
) -> None:
    """Run a grid of experiments and print the paper's table: Dice by site, mean and spread over the seeds.

    The whole of the paper's comparison: `flap-sam compare --preset small --page results.md`, or with its own settings
    by `--preset paper`. A preset says first how many runs are left, and how long they will take.
    """
    from flap_sam.foundation.extras import require

    require("report", "The comparison")
    from flap_sam.commands.comparison import beforehand, published
    from flap_sam.config.job import Job, named, parsed, values_of
    from flap_sam.experiments import presets
    from flap_sam.experiments.plan import Grid, Plan, check_settings
    from flap_sam.records.run_record import FEDERATED, SETTINGS
    from flap_sam.report import comparison

    if preset and vary:
        raise FlapSamError("A preset says itself what is varied; leave out --vary or --preset.")
    chosen = check_settings(settings.split(",") if settings else SETTINGS if preset else [FEDERATED])
    varied = {name: values_of(values) for name, values in named(vary or []).items()}
    plan = presets.preset(preset) if preset else Plan([Grid(chosen, varied)], seeds=[1234])
    plan = plan.changed(parsed(changes or []), values_of(seeds) if seeds else None)
    compared = published(Job.read(job), out, plan, page)
    if preset:
        typer.echo("measuring a step of every network that is left to run")
        typer.echo(beforehand(compared, chosen))
    failures = compared.run(chosen, threads, typer.echo)
    typer.echo(comparison.console([*compared.there().values()]))
    for failure in failures:
        typer.echo(failure, err=True)
    if failures:
        raise typer.Exit(1)


@app.command("pretrain-tiny", rich_help_panel=TRAIN)
def pretrain_tiny(
    out: Annotated[Path, typer.Option(help="the checkpoint to write, .safetensors")],
    steps: Annotated[int, typer.Option(min=1, help="of 24 pictures each")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=65535, help="of the pictures and of the first weights")] = 1,
) -> None:
    """Pretrain the small SAM of `vit_tiny` on pictures of drawn shapes. Takes up again what was interrupted."""
    from flap_sam.commands.tables.pretraining import overlap_table
    from flap_sam.pretraining.examine import examine, held_out
    from flap_sam.pretraining.network import PromptableSam
    from flap_sam.pretraining.pretrain import pretrain

    networks = {"random weights": PromptableSam(seed)}
    networks[str(out)] = PromptableSam.load(pretrain(out, steps, seed, typer.echo))
    found = {name: examine(network, held_out(network.side)) for name, network in networks.items()}
    typer.echo(overlap_table("scenes that were not trained on", found))
