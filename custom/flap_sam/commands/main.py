"""The `flap-sam` command."""

import errno
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError
from flap_sam.foundation.children import Interrupted, interruptible

if TYPE_CHECKING:
    from flap_sam.inference.model import Model

PREPARE, TRAIN, DEPLOY, RESULTS = "Prepare data", "Train and compare", "Deploy", "Results"  # panels of --help

REFUSALS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO}
)
"""What a system says of a full disk and of folders that cannot be written; any other error of it is a fault of ours."""

app = typer.Typer(
    help="Hospitals fine-tune the Segment Anything Model together, on NVIDIA FLARE (FLAP-SAM, arXiv 2407.21739).\n\n"
    "To try it, without data: `flap-sam simulate jobs/flap_sam_kits --work work --sites 6`\n\n"
    "With volumes of your own: prepare, doctor, FLAP_SAM_DATA set to the store, simulate jobs/flap_sam_nifti\n\n"
    "The commands stand in the order of use; `flap-sam COMMAND --help` says more of each.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Changes = Annotated[list[str] | None, typer.Option("--set", help="name=value in place of the job's; repeatable")]


@app.command(rich_help_panel=PREPARE)
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
    """Turn volumes into a store that sites train from, or make a store follow volumes that have changed.

    Cases whose files or settings changed are made again, new ones added, those that are gone removed, and all of it
    said. What was interrupted is taken up again. Let no site train from the store meanwhile.
    """
    from flap_sam.commands.preparation import outcome_text, strays_text
    from flap_sam.data import prepare as preparation

    def done(outcome: preparation.SiteOutcome) -> None:
        typer.echo(outcome_text(outcome))

    strays = preparation.prepare(source, folder, out, site, workers, published_intensities, done)
    typer.echo(strays_text(strays, out, folder), nl=False)
    for note in preparation.open_source(source, folder).notes():
        typer.echo(f"note: {note}")


@app.command(rich_help_panel=PREPARE)
def doctor(
    store: Annotated[Path | None, typer.Argument(help="a prepared store")] = None,
    folder: Annotated[
        Path | None, typer.Option("--source", help="volumes as they come; with a store, those it was prepared from")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="of --source; a store knows its own: kits19, ixi, prostate, decathlon, pairs ...")
    ] = None,
    site: Annotated[list[str] | None, typer.Option(help="only this site of --source; may be repeated")] = None,
    out: Annotated[Path, typer.Option(help="folder for the JSON and the pictures; they show patients")] = Path(
        "doctor"
    ),
) -> None:
    """Examine a store or raw volumes before the first round: what is missing, broken, double or odd.

    A store with its --source is also compared with it: what has changed since it was prepared is an error.
    """
    from flap_sam.commands.doctor import report_table
    from flap_sam.data import doctor as examination
    from flap_sam.data.contact_sheet import contact_sheet
    from flap_sam.foundation.files import replacing

    raw = folder is not None and layout is not None
    if (store and (site or (layout and not folder))) or not (store or raw):
        raise FlapSamError("Name a store, a store and its --source, or --source with its --layout.")
    if store:
        report = examination.examine_store(store, folder, layout)
    else:
        report = examination.examine_source(layout, folder, site)
    with replacing(out / "doctor.json") as stream:
        stream.write(report.to_json().encode())
    sheet = contact_sheet(report.pictures, report.classes, out / "contact_sheet.png")
    typer.echo(report_table(report) + f"written: {out / 'doctor.json'}, {sheet}")
    if report.failed:
        raise typer.Exit(1)


@app.command(rich_help_panel=PREPARE)
def checkpoint(
    file: Annotated[Path, typer.Argument(help="SAM's weights, .pth or .safetensors")],
    method: Annotated[str, typer.Option(help="fine-tuning method")] = "flap_sam",
    image_size: Annotated[int | None, typer.Option(help="pixels a side; the backbone's own if left out")] = None,
) -> None:
    """Show a checkpoint's hash, and which tensors the network loads, resizes or starts anew."""
    from flap_sam.commands.checkpoint import describe

    typer.echo(describe(file, Experiment(method=method, image_size=image_size)))


@app.command(rich_help_panel=TRAIN)
def options() -> None:
    """List every setting of a job and of a site: what it means, its default, what it may be."""
    from flap_sam.commands.options import markdown

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
    from flap_sam.commands import parameters

    if paper:
        typer.echo(parameters.paper_json() if as_json else parameters.paper_table())
        return
    if backbone == "auto":
        raise FlapSamError("Nothing says which backbone auto is without a checkpoint; name one.")
    experiment = Experiment(
        method=method, adapter=adapter, rank=rank, classes=classes, image_size=image_size, backbone=backbone
    )
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
    changes: Changes = None,
) -> None:
    """Run a job's federation on this machine, every site in a process: the whole of it, without a hospital.

    Sites that work at a time share the processors evenly, unless OMP_NUM_THREADS is set.
    """
    from flap_sam.config.job import Job, parsed
    from flap_sam.experiments.simulate import simulate as run

    run(Job.read(job), parsed(changes or []), work, sites, threads, resume, start)


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
    from flap_sam.experiments import alone
    from flap_sam.records.results import closing_summary

    if setting not in (alone.LOCAL, alone.CENTRALIZED):
        raise FlapSamError(f"There is no setting {setting!r}; expected {alone.LOCAL} or {alone.CENTRALIZED}.")
    alone.train(Job.read(job), setting, site, parsed(changes or []), out, typer.echo)
    typer.echo(closing_summary(out))


@app.command(rich_help_panel=TRAIN)
def compare(
    job: Annotated[Path, typer.Argument(help="a folder of jobs/")] = Path("jobs/flap_sam_kits"),
    out: Annotated[Path, typer.Option(help="folder for the runs; those that are there are not run again")] = Path(
        "runs/compare"
    ),
    preset: Annotated[str | None, typer.Option(help="small: the paper's comparison")] = None,
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

    The whole of the paper's comparison: `flap-sam compare --preset small --page results.md`
    """
    from flap_sam.commands.comparison import published
    from flap_sam.config.job import Job, named, parsed, values_of
    from flap_sam.experiments import presets
    from flap_sam.experiments.plan import Grid, Plan
    from flap_sam.records.run_record import FEDERATED, SETTINGS
    from flap_sam.report import comparison

    if preset and vary:
        raise FlapSamError("A preset says itself what is varied; leave out --vary or --preset.")
    chosen = settings.split(",") if settings else list(SETTINGS) if preset else [FEDERATED]
    varied = {name: values_of(values) for name, values in named(vary or []).items()}
    plan = presets.preset(preset) if preset else Plan([Grid(chosen, varied)], seeds=[1234])
    plan = plan.changed(parsed(changes or []), values_of(seeds) if seeds else None)
    compared = published(Job.read(job), out, plan, page)
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
    from flap_sam.commands.pretraining import overlap_table
    from flap_sam.pretraining.examine import examine, held_out
    from flap_sam.pretraining.network import PromptableSam
    from flap_sam.pretraining.pretrain import pretrain

    networks = {"random weights": PromptableSam(seed)}
    networks[str(out)] = PromptableSam.load(pretrain(out, steps, seed, typer.echo))
    found = {name: examine(network, held_out(network.side)) for name, network in networks.items()}
    typer.echo(overlap_table("scenes that were not trained on", found))


@app.command(rich_help_panel=DEPLOY)
def stage(
    job: Annotated[Path, typer.Argument(help="a folder of jobs/")],
    out: Annotated[Path, typer.Option(help="the copy to submit; a new folder")],
    changes: Changes = None,
) -> None:
    """Make the copy of a job that is submitted, and say what it will run and where."""
    from flap_sam.commands.deployment import staged_text
    from flap_sam.config.job import parsed
    from flap_sam.deployment.stage import stage as make

    typer.echo(staged_text(make(job, out, parsed(changes or []))))


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
    from flap_sam.commands.deployment import check_table
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


@app.command(rich_help_panel=RESULTS)
def results(work: Annotated[Path, typer.Argument(help="a workspace, a downloaded job, or one run's results")]) -> None:
    """Show the test Dice of a finished run and where its files lie."""
    from flap_sam.records.results import closing_summary, results_below

    found = results_below(work)
    if not found:
        raise FlapSamError(f"No finished run lies below {work}; point to a workspace or a downloaded job.")
    for folder in found:
        typer.echo(closing_summary(folder))


Payload = Annotated[Path, typer.Option("--payload", help="global_final.safetensors of a run's results")]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        envvar="FLAP_SAM_CHECKPOINT",
        help="what the sites started from: SAM's weights, or random; left out, the bundled small SAM",
    ),
]
StoreOfScans = Annotated[Path | None, typer.Option("--store", envvar="FLAP_SAM_DATA", help="a prepared store")]
SiteOfScans = Annotated[str | None, typer.Option("--site", help="of the store: whose scanner made the scans")]
Clip = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--clip", metavar="LOW HIGH", help="intensities the network sees as 0 and 1; with % signs, percentiles"
    ),
]


@app.command(rich_help_panel=RESULTS)
def report(
    run: Annotated[Path, typer.Argument(help="a simulator workspace, a downloaded job, a folder of train or compare")],
    out: Annotated[Path, typer.Option("--out", "-o", help="the page to write")] = Path("report.html"),
    compare: Annotated[Path | None, typer.Option(help="a folder of compare, for its table beside the run's")] = None,
) -> None:
    """Write a run, or a grid of runs, as one page of HTML that needs nothing else."""
    from flap_sam.report import write

    typer.echo(f"written: {write(run, out, compare)}")


@app.command(rich_help_panel=RESULTS)
def predict(
    payload: Payload,
    source: Annotated[
        Path, typer.Option("--input", help="a volume (NIfTI, MetaImage, NRRD), a DICOM series, or a folder of such")
    ],
    output: Annotated[Path, typer.Option(help="folder for the label maps")],
    checkpoint: Checkpoint = None,
    store: StoreOfScans = None,
    site: SiteOfScans = None,
    clip: Clip = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="a probability map of every class too")
    ] = False,
) -> None:
    """Segment new scans with a trained payload: label maps on the scans' own grids, and pictures of them."""
    from flap_sam.commands.prediction import prediction_table
    from flap_sam.config.site import Site
    from flap_sam.inference.intensities import conventions
    from flap_sam.inference.model import Model
    from flap_sam.inference.predict import predict as run
    from flap_sam.inference.scans import scans_at
    from flap_sam.inference.segment import Segmenter
    from flap_sam.training.precision import settle

    found = scans_at(source)
    model = Model.load(payload, checkpoint)
    used = conventions(model.experiment, store, site, clip)
    own = Site.read(None)
    device = own.torch_device()
    segmenter = Segmenter(model, used, device, settle(own.precision, device), probabilities)
    typer.echo(f"scans: {len(found.scans)}; intensities {used.told}")
    for note in found.notes:
        typer.echo(f"note: {note}")
    done = list(run(segmenter, found.scans, output))
    typer.echo(prediction_table(done, used.names(model.experiment.classes), output))
    if any(prediction.error for prediction in done):
        raise typer.Exit(1)


@app.command(rich_help_panel=RESULTS)
def evaluate(
    predicted: Annotated[Path | None, typer.Option(help="a label map, or a folder of them")] = None,
    truth: Annotated[Path | None, typer.Option(help="the true one, or a folder of them, under the same names")] = None,
    classes: Annotated[int | None, typer.Option(help="of the label maps, background not counted")] = None,
    payload: Annotated[
        Path | None, typer.Option(help="or a payload, with --store: its test cases are predicted")
    ] = None,
    checkpoint: Checkpoint = None,
    store: StoreOfScans = None,
    site: Annotated[list[str] | None, typer.Option(help="only this site of the store; may be repeated")] = None,
    tolerance: Annotated[float, typer.Option(min=0.001, help="of the surface Dice, in mm")] = 2.0,
    csv: Annotated[Path | None, typer.Option(help="write the table there too")] = None,
) -> None:
    """Score label maps against the true ones, or a payload on a store: Dice, Hausdorff 95, surface Dice, volumes.

    What was missed, what was found where there is nothing, and label maps without a true one are named.
    """
    from flap_sam.commands.evaluation import evaluation_table, extra_text
    from flap_sam.config.site import Site
    from flap_sam.inference.evaluate import evaluate_masks, evaluate_stores, maps_without_truth, stores_to_score
    from flap_sam.inference.model import Model
    from flap_sam.training.evaluate import write_cases
    from flap_sam.training.precision import settle

    extra: list[Path] = []
    if predicted and truth and classes and not payload:
        extra = maps_without_truth(predicted, truth)
        scores = list(evaluate_masks(predicted, truth, classes, tolerance, typer.echo))
        names = [f"class {k}" for k in range(1, classes + 1)]
    elif payload and store and not (predicted or truth):
        own = Site.read(None)
        device = own.torch_device()
        model = Model.load(payload, checkpoint)
        stores = stores_to_score(store, site, model.experiment.classes)
        scores = list(evaluate_stores(model, stores, tolerance, device, settle(own.precision, device)))
        names = stores[0].manifest.classes
    else:
        raise FlapSamError("Name either --predicted, --truth and --classes, or --payload and --store.")
    typer.echo(evaluation_table(scores, names, tolerance))
    if csv:
        write_cases(csv, scores)
        typer.echo(f"written: {csv}")
    if extra:
        typer.echo(extra_text(extra))
        raise typer.Exit(1)


exports = typer.Typer(help="A trained payload for other tools: SAM's weights, PEFT, MONAI, ONNX.", no_args_is_help=True)
app.add_typer(exports, name="export", rich_help_panel=RESULTS)
NewFolder = Annotated[Path, typer.Option("--out", help="a new folder")]


@exports.command("sam")
def export_sam(
    payload: Payload,
    out: Annotated[Path, typer.Option(help="a file, .safetensors or .pth")],
    checkpoint: Checkpoint = None,
) -> None:
    """SAM with the adapters merged into its weights, in one file under segment_anything's names."""
    from flap_sam.export import merged

    merged.write(*_exported(payload, checkpoint), out)
    typer.echo(f"written: {out}")


@exports.command("peft")
def export_peft(payload: Payload, out: NewFolder, checkpoint: Checkpoint = None) -> None:
    """The adapters as peft.PeftModel.from_pretrained loads them, and beside them what else was trained."""
    from flap_sam.export import peft

    peft.write(*_exported(payload, checkpoint), out)
    typer.echo(f"written: {out}")


@exports.command("monai")
def export_monai(
    payload: Payload,
    out: NewFolder,
    checkpoint: Checkpoint = None,
    store: StoreOfScans = None,
    site: SiteOfScans = None,
    clip: Clip = None,
) -> None:
    """A bundle by which monai.bundle segments NIfTI files."""
    from flap_sam.export import bundle
    from flap_sam.inference.intensities import conventions

    model, provenance = _exported(payload, checkpoint)
    used = conventions(model.experiment, store, site, clip)
    bundle.write(model, provenance, used, out)
    typer.echo(f"written: {out}; intensities {used.told}")


@exports.command("onnx")
def export_onnx(payload: Payload, out: NewFolder, checkpoint: Checkpoint = None) -> None:
    """Encoder and decoder as ONNX, compared with the network by onnxruntime before they are written."""
    from flap_sam.export import onnx

    difference = onnx.write(*_exported(payload, checkpoint), out)
    typer.echo(f"written: {out}; onnxruntime differs from torch by {difference:.1e} at most")


def _exported(payload: Path, checkpoint: Path | None) -> tuple["Model", dict[str, str]]:
    """The model of a payload, and where it comes from."""
    from flap_sam.export.provenance import provenance
    from flap_sam.inference.model import Model

    model = Model.load(payload, checkpoint)
    return model, provenance(model, payload)


def main() -> None:
    """Run the command; an error that a person is meant to read, or an interruption, ends it with one sentence."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no such character
    try:
        with interruptible():
            app()
    except Interrupted as end:
        _tell(f"interrupted by {end.name}; what was finished before is kept.")
        raise
    except FlapSamError as error:
        _tell(str(error))
        sys.exit(1)
    except OSError as problem:
        if problem.errno not in REFUSALS:
            raise
        _tell(f"The system refuses a file ({problem}); make room there, or choose another folder.")
        sys.exit(1)


def _tell(sentence: str) -> None:
    from flap_sam.foundation.text import harmless

    text = harmless(f"flap-sam: {sentence}")
    Console(stderr=True, soft_wrap=True, highlight=False, emoji=False).print(text, markup=False)
