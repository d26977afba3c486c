# SPDX-License-Identifier: Apache-2.0
"""Commands for what a run has left: results, report, masks of new scans, scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from flap_sam.commands.app import RESULTS, app
from flap_sam.commands.options import Checkpoint, Clip, Payload, SiteOfScans, StoreOfScans
from flap_sam.errors import FlapSamError


@app.command(rich_help_panel=RESULTS)
def results(work: Annotated[Path, typer.Argument(help="a workspace, a downloaded job, or one run's results")]) -> None:
    """Show the test Dice of a finished run and where its files lie."""
    from flap_sam.records.results import results_below
    from flap_sam.report.closing import closing_summary

    found = results_below(work)
    if not found:
        raise FlapSamError(
            f"No finished run lies below {work}; point to a workspace or a downloaded job. If the job failed, its "
            "error_log.txt says why."
        )
    for folder in found:
        typer.echo(closing_summary(folder))


@app.command(rich_help_panel=RESULTS)
def report(
    run: Annotated[Path, typer.Argument(help="a simulator workspace, a downloaded job, a folder of train or compare")],
    out: Annotated[Path, typer.Option("--out", "-o", help="the page to write")] = Path("report.html"),
    compare: Annotated[Path | None, typer.Option(help="a folder of compare, for its table beside the run's")] = None,
) -> None:
    """Write a run, or a grid of runs, as one page of HTML that needs nothing else."""
    from flap_sam.foundation.extras import require

    require("report", "The report")
    from flap_sam.report.write import write

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
    from flap_sam.commands.tables.prediction import prediction_table
    from flap_sam.config.site import Site
    from flap_sam.inference.model import Model
    from flap_sam.inference.predict import predict as run
    from flap_sam.inference.scans import scans_at
    from flap_sam.inference.segment import Segmenter

    found = scans_at(source)
    model = Model.load(payload, checkpoint)
    segmenter = Segmenter.at(model, Site.read(None).at(store, site), clip, probabilities)
    used = segmenter.conventions
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
    from flap_sam.commands.tables.evaluation import evaluation_table, extra_text
    from flap_sam.config.site import Site
    from flap_sam.inference.evaluate import evaluate_masks, evaluate_stores, maps_without_truth, stores_to_score
    from flap_sam.inference.model import Model
    from flap_sam.training.evaluate import write_cases
    from flap_sam.training.precision import settle

    extra: list[Path] = []
    names: Sequence[str]
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
