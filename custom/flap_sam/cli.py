"""The `flap-sam` command."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flap_sam.errors import FlapSamError

app = typer.Typer(
    help="Hospitals fine-tune the Segment Anything Model together, on NVIDIA FLARE (FLAP-SAM, arXiv 2407.21739).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(help="layout of the volumes: kits19, decathlon or phantom")],
    folder: Annotated[Path, typer.Option("--source", help="where the volumes are; the phantom is drawn there")],
    out: Annotated[Path, typer.Option(help="the store to write")],
    site: Annotated[list[str] | None, typer.Option(help="only this site; may be given several times")] = None,
) -> None:
    """Turn volumes into a store that sites train from. Takes up again what was interrupted."""
    from flap_sam.data import prepare as preparation

    preparation.prepare(source, folder, out, site)


@app.command()
def results(work: Annotated[Path, typer.Argument(help="a simulator workspace, or a downloaded job")]) -> None:
    """Show the test Dice of a finished run and where its files lie."""
    from flap_sam.reporting.results import closing_summary, results_below

    found = results_below(work)
    if not found:
        raise FlapSamError(f"No finished run lies below {work}; point to a simulator workspace or a downloaded job.")
    for folder in found:
        typer.echo(closing_summary(folder))


def main() -> None:
    """Run the command; an error that a person is meant to read ends it with that one sentence."""
    try:
        app()
    except FlapSamError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"flap-sam: {error}", markup=False)
        sys.exit(1)
