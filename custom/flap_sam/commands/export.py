# SPDX-License-Identifier: Apache-2.0
"""Commands that write a trained payload for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flap_sam.commands.app import RESULTS, app
from flap_sam.commands.options import Checkpoint, Clip, Payload, SiteOfScans, StoreOfScans

if TYPE_CHECKING:
    from flap_sam.inference.model import Model


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
