# SPDX-License-Identifier: Apache-2.0
"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

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
