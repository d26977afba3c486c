"""The `flap-sam` command."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flap_sam.errors import FlapSamError
from flap_sam.experiment import Experiment

app = typer.Typer(
    help="Hospitals fine-tune the Segment Anything Model together, on NVIDIA FLARE (FLAP-SAM, arXiv 2407.21739).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(help="layout: kits19, ixi, prostate, decathlon, pairs, bids or phantom")],
    folder: Annotated[Path, typer.Option("--source", help="where the volumes are; the phantom is drawn there")],
    out: Annotated[Path, typer.Option(help="the store to write")],
    site: Annotated[list[str] | None, typer.Option(help="only this site; may be given several times")] = None,
    workers: Annotated[int | None, typer.Option(help="cases at a time; as many as processors if left out")] = None,
    published_intensities: Annotated[
        bool, typer.Option("--published-intensities", help="kits19: the paper's table, not the site's own")
    ] = False,
) -> None:
    """Turn volumes into a store that sites train from. Takes up again what was interrupted."""
    from flap_sam.data import prepare as preparation

    preparation.prepare(source, folder, out, site, workers, published_intensities)


@app.command()
def doctor(
    store: Annotated[Path | None, typer.Argument(help="a prepared store")] = None,
    folder: Annotated[Path | None, typer.Option("--source", help="volumes as they come, instead of a store")] = None,
    layout: Annotated[str | None, typer.Option(help="of --source: kits19, ixi, prostate, decathlon, pairs ...")] = None,
    site: Annotated[list[str] | None, typer.Option(help="only this site of --source; may be repeated")] = None,
    out: Annotated[Path, typer.Option(help="folder for the JSON and the pictures; they show patients")] = Path(
        "doctor"
    ),
) -> None:
    """Examine a store or raw volumes before the first round: what is missing, broken, double or odd."""
    from flap_sam.data import doctor as examination
    from flap_sam.data.contact_sheet import contact_sheet
    from flap_sam.files import replacing
    from flap_sam.reporting.doctor import report_table

    if (store is None) == (folder is None) or (folder is None) != (layout is None):
        raise FlapSamError("Name either a store, or --source with its --layout.")
    report = examination.examine_source(layout, folder, site) if folder else examination.examine_store(store)
    with replacing(out / "doctor.json") as stream:
        stream.write(report.to_json().encode())
    sheet = contact_sheet(report.pictures, report.classes, out / "contact_sheet.png")
    typer.echo(report_table(report) + f"written: {out / 'doctor.json'}, {sheet}")
    if report.failed:
        raise typer.Exit(1)


@app.command()
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
    from flap_sam.reporting import parameters

    if paper:
        typer.echo(parameters.paper_json() if as_json else parameters.paper_table())
        return
    if backbone == "auto":
        raise FlapSamError("Nothing says which backbone auto is without a checkpoint; name one.")
    experiment = Experiment(
        method=method, adapter=adapter, rank=rank, classes=classes, image_size=image_size, backbone=backbone
    )
    typer.echo(parameters.room_json(experiment) if as_json else parameters.room_table(experiment))


@app.command()
def checkpoint(
    file: Annotated[Path, typer.Argument(help="SAM's weights, .pth or .safetensors")],
    method: Annotated[str, typer.Option(help="fine-tuning method")] = "flap_sam",
    image_size: Annotated[int | None, typer.Option(help="pixels a side; the backbone's own if left out")] = None,
) -> None:
    """Show a checkpoint's hash, and which tensors the network loads, resizes or starts anew."""
    from flap_sam.reporting.checkpoint import describe

    typer.echo(describe(file, Experiment(method=method, image_size=image_size)))


@app.command()
def results(work: Annotated[Path, typer.Argument(help="a simulator workspace, or a downloaded job")]) -> None:
    """Show the test Dice of a finished run and where its files lie."""
    from flap_sam.reporting.results import closing_summary, results_below

    found = results_below(work)
    if not found:
        raise FlapSamError(f"No finished run lies below {work}; point to a simulator workspace or a downloaded job.")
    for folder in found:
        typer.echo(closing_summary(folder))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="a simulator workspace, a downloaded job, a folder of train or compare")],
    out: Annotated[Path, typer.Option("--out", "-o", help="the page to write")] = Path("report.html"),
    compare: Annotated[Path | None, typer.Option(help="a folder of compare, for its table beside the run's")] = None,
) -> None:
    """Write a run, or a grid of runs, as one page of HTML that needs nothing else."""
    from flap_sam.reporting.report import write

    typer.echo(f"written: {write(run, out, compare)}")


Changes = Annotated[list[str] | None, typer.Option("--set", help="name=value in place of the job's; repeatable")]


@app.command()
def train(
    job: Annotated[Path, typer.Argument(help="a folder of jobs/")],
    out: Annotated[Path, typer.Option(help="folder for the results")],
    setting: Annotated[str, typer.Option(help="local: the data of one site; centralized: all data in one place")],
    site: Annotated[str | None, typer.Option(help="whose data, under local: as the store names it, or site-2")] = None,
    changes: Changes = None,
) -> None:
    """Run a job's experiment without a federation, for comparison: same trainer, same settings, same files."""
    from flap_sam.experiments import alone
    from flap_sam.experiments.job import Job, parsed
    from flap_sam.reporting.results import closing_summary

    if setting not in (alone.LOCAL, alone.CENTRALIZED):
        raise FlapSamError(f"There is no setting {setting!r}; expected {alone.LOCAL} or {alone.CENTRALIZED}.")
    alone.train(Job.read(job), setting, site, parsed(changes or []), out, typer.echo)
    typer.echo(closing_summary(out))


@app.command()
def compare(
    job: Annotated[Path, typer.Argument(help="a folder of jobs/")],
    out: Annotated[Path, typer.Option(help="folder for the runs; those that are there are not run again")],
    settings: Annotated[str, typer.Option(help="some of local,federated,centralized")] = "federated",
    vary: Annotated[list[str] | None, typer.Option(help="name=value,value ... of the experiment; repeatable")] = None,
    seeds: Annotated[str, typer.Option(help="of everything random")] = "1234",
    changes: Changes = None,
    threads: Annotated[int | None, typer.Option(help="sites that work at a time; all if left out")] = None,
) -> None:
    """Run a grid of experiments and print the paper's table: Dice by site, mean and spread over the seeds."""
    from flap_sam.experiments.compare import compare as run_grid
    from flap_sam.experiments.job import Job, named, parsed, values_of
    from flap_sam.reporting import comparison

    varied = {name: values_of(values) for name, values in named(vary or []).items()}
    numbers = values_of(seeds)
    failures = run_grid(
        Job.read(job), out, settings.split(","), varied, numbers, parsed(changes or []), threads, typer.echo
    )
    typer.echo(comparison.write(out))
    for failure in failures:
        typer.echo(failure, err=True)
    if failures:
        raise typer.Exit(1)


@app.command()
def stage(
    job: Annotated[Path, typer.Argument(help="a folder of jobs/")],
    out: Annotated[Path, typer.Option(help="the copy to submit; a new folder")],
    changes: Changes = None,
) -> None:
    """Make the copy of a job that is submitted, and say what it will run and where."""
    from flap_sam.deployment.stage import stage as make
    from flap_sam.experiments.job import parsed
    from flap_sam.reporting.deployment import staged_text

    typer.echo(staged_text(make(job, out, parsed(changes or []))))


@app.command()
def kit(
    folder: Annotated[Path, typer.Argument(help="the prod_NN folder that `nvflare provision` made")],
    job: Annotated[list[Path], typer.Option(help="a staged job that the hospitals agree to; may be repeated")],
    policy: Annotated[Path, typer.Option(help="the policies of servers and sites")] = Path("provisioning/policy"),
    wheelhouse: Annotated[Path | None, typer.Option(help="wheels to pin by hash in every kit")] = None,
) -> None:
    """Lay the project's policies into startup kits: rights, classes, the gate, and what it lets through."""
    from flap_sam.deployment.kit import lay
    from flap_sam.experiments.job import Job

    for done in lay(folder, policy, [Job.read(path).experiment() for path in job], wheelhouse):
        typer.echo(f"policy laid into {done}")


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="KIT", help="a hospital's startup kit")],
) -> None:
    """Examine a hospital's kit before it starts: policy, agreement, data, checkpoint, device, connection."""
    from flap_sam.deployment.check import check as examine
    from flap_sam.reporting.deployment import check_table

    findings = examine(folder)
    typer.echo(check_table(findings))
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command; an error that a person is meant to read ends it with that one sentence."""
    try:
        app()
    except FlapSamError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"flap-sam: {error}", markup=False)
        sys.exit(1)
