# SPDX-License-Identifier: Apache-2.0
"""Commands that prepare data and look at it."""

from pathlib import Path
from typing import Annotated

import typer

from flap_sam.commands.app import PREPARE, app
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError


@app.command(rich_help_panel=PREPARE)
def prepare(
    source: Annotated[
        str,
        typer.Argument(
            help="layout: kits19, ixi, prostate, decathlon, pairs, bids; phantom, phantom-head or phantom-pelvis"
        ),
    ],
    folder: Annotated[Path, typer.Option("--source", help="where the volumes are; a phantom is drawn there")],
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
    from flap_sam.commands.tables.preparation import outcome_text, strays_text
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
    from flap_sam.commands.tables.doctor import report_table
    from flap_sam.data import doctor as examination
    from flap_sam.data.contact_sheet import contact_sheet
    from flap_sam.foundation.files import replacing

    if store and not site and (folder or not layout):
        report = examination.examine_store(store, folder, layout)
    elif not store and folder and layout:
        report = examination.examine_source(layout, folder, site)
    else:
        raise FlapSamError("Name a store, a store and its --source, or --source with its --layout.")
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
    from flap_sam.commands.tables.checkpoint import describe

    typer.echo(describe(file, Experiment.from_dict({"method": method, "image_size": image_size})))
