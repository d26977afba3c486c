# SPDX-License-Identifier: Apache-2.0
"""`rounds.jsonl`, the round log: one line of JSON a round, written as the round closes."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing
from flap_sam.foundation.means import mean_of_known
from flap_sam.foundation.strict import Count, Number, StrictModel, parse_lines
from flap_sam.foundation.text import figure
from flap_sam.records.scores import RoundFigures

ROUND_LOG = "rounds.jsonl"


class SiteRecord(RoundFigures):
    """One site in one round: what it has said, and what the server has made of it.

    Args:
        norm: Frobenius norm of the site's B A over all layers; None where the method has no adapters.
        change: Frobenius norm of what it changed in the round, B A and all other tensors; None without a federation.
        counted_slices: that it counted for; fewer than its `slices` where its share of the weights was capped.
        bytes_down, bytes_up: of the encoded messages.
    """

    norm: Number | None
    change: Number | None
    counted_slices: Count
    bytes_down: Count
    bytes_up: Count


class LayerRecord(StrictModel):
    """What the truncation kept of a layer's averaged change, as share of the squared norm, and the norm it dropped.

    Args:
        excess: the norm that a sketch dropped beyond what the SVD would have; None, and not in the file, where no
            sketch was narrower than the sum.
    """

    kept: Number
    residual: Number
    excess: Number | None = None

    @model_serializer(mode="wrap")
    def _known(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialise(self).items() if value is not None}


class RoundRecord(StrictModel):
    """One round.

    Args:
        run: the run's name, the same over all jobs that continue it.
        validation: mean Dice of the payload the round started from, over sites and classes.
        svd_energy_kept: mean over the layers of the share the truncation kept.
        layers: by the adapter's path.
        seconds: of the whole round; server_seconds: of it, spent after the last answer.
        sites: who was counted; refused: who was refused, and why; missing: who was asked and gave no usable
            answer before the round closed; late: whose answer to an earlier round came since the last record.
    """

    version: Literal[1] = 1
    run: str
    round: Count
    validation: Number | None
    loss: Number | None
    svd_energy_kept: Number | None
    layers: dict[str, LayerRecord]
    seconds: Number
    server_seconds: Number
    sites: Annotated[dict[str, SiteRecord], Field(min_length=1)]
    refused: dict[str, str]
    missing: list[str]
    late: list[str]


def append(folder: Path, record: RoundRecord) -> None:
    """Add a round to the log in a results folder; whoever is killed meanwhile leaves the log without it."""
    path = folder / ROUND_LOG
    before = path.read_bytes() if path.exists() else b""
    with replacing(path) as log:
        log.write(before + record.to_line().encode())


def read(folder: Path) -> list[RoundRecord]:
    """The rounds in a results folder's log: one at least.

    Raises:
        FlapSamError: the log is missing, empty or damaged; names the line and the field.
    """
    path = folder / ROUND_LOG
    try:
        rounds = parse_lines(RoundRecord, path)
    except OSError as error:
        raise FlapSamError(f"Round log {path} cannot be read ({error}); point to the folder of a run.") from error
    except ValueError as error:
        raise FlapSamError(
            f"Round log {path} is damaged: {error}; remove the line if the run was stopped while it wrote it, or run "
            "it again."
        ) from error
    if not rounds:
        raise FlapSamError(f"Round log {path} holds no round; wait until the first one has closed.")
    return rounds


def site_line(number: int, site: str, record: SiteRecord) -> str:
    """A site's answer, for the console."""
    return (
        f"round {number:3}  {site:12}  {record.slices:5} slices  loss {figure(record.loss, 4)}  "
        f"validation Dice of what it received {figure(mean_of_known(record.validation))}  "
        f"{record.bytes_up / 1e6:.2f} MB up  {figure(record.seconds, 1)} s"
    )


def round_line(record: RoundRecord, rounds: int) -> str:
    """A round, for the console."""
    kept = "" if record.svd_energy_kept is None else f"  SVD kept {100 * record.svd_energy_kept:.2f} %"
    absent = len(record.refused) + len(record.missing)
    return (
        f"round {record.round:3}  of {rounds}: loss {figure(record.loss, 4)}  validation Dice at its start "
        f"{figure(record.validation)}{kept}  {record.seconds:.1f} s" + (f"  {absent} sites left out" if absent else "")
    )
