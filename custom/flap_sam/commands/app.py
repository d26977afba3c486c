# SPDX-License-Identifier: Apache-2.0
"""The `flap-sam` command and the panels of its help."""

from typing import Annotated

import typer

PREPARE, TRAIN, DEPLOY, RESULTS = "Prepare data", "Train and compare", "Deploy", "Results"

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
JobPreset = Annotated[
    str | None,
    typer.Option("--preset", help="paper: the paper's settings for the job's data set; --set goes before"),
]
