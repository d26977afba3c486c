"""The round log: one line of JSON a round, written as the round closes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from flap_sam.reporting.results import ROUND_LOG


@dataclass(frozen=True, kw_only=True)
class SiteRecord:
    """One site in one round; see `messages.TrainReport`. Bytes are those of the encoded messages."""

    slices: int
    loss: float
    steps: int
    seconds: float
    validation: list[float | None]
    demo: bool
    bytes_down: int
    bytes_up: int


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """One round.

    Args:
        validation: mean Dice of the payload the round started from, over sites and classes.
        svd_energy_kept: mean over the layers of the share the truncation kept.
        seconds: of the whole round; server_seconds: of it, spent aggregating.
        sites: who took part; refused: who was refused, and why.
    """

    round: int
    validation: float | None
    loss: float
    svd_energy_kept: float | None
    seconds: float
    server_seconds: float
    sites: dict[str, SiteRecord]
    refused: dict[str, str]


def append(folder: Path, record: RoundRecord) -> None:
    """Add a round to the log in a results folder."""
    with (folder / ROUND_LOG).open("a") as log:
        log.write(json.dumps(asdict(record)) + "\n")
