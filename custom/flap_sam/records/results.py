# SPDX-License-Identifier: Apache-2.0
"""What a finished run leaves in its results folder: payloads, and `test_dice.json`, its scores by site and class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ValidationInfo, field_validator

from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing
from flap_sam.foundation.strict import Count, StrictModel, parse
from flap_sam.foundation.text import in_order
from flap_sam.records.scores import Evaluation

Payloads = Mapping[str, Mapping[str, Evaluation]]

RESULTS = "results"
FINAL, BEST = "final", "best"
PAYLOAD_FILES = {FINAL: "global_final.safetensors", BEST: "global_best.safetensors"}
TEST_DICE = "test_dice.json"


def _whole(payloads: Payloads) -> Payloads:
    if set(payloads) != set(PAYLOAD_FILES) or not all(payloads.values()):
        raise ValueError(f"sites for {' and '.join(PAYLOAD_FILES)}")
    by_class = [v for reports in payloads.values() for report in reports.values() for _, v in report]
    lengths = {len(values) for values in by_class if isinstance(values, list)}
    if len(lengths) != 1:
        raise ValueError(f"lists by class of one length, not of {sorted(lengths)}")
    return payloads


class Scores(StrictModel):
    """`test_dice.json`.

    Args:
        best_round: that starts from the best payload.
        payloads: the sites' reports by payload kind and site.
        departures: of sites that scored another network than the exported payload makes, see `scores.departures`.
    """

    version: Literal[1] = 1
    best_round: Count
    payloads: Annotated[Payloads, AfterValidator(_whole)]
    departures: Mapping[str, str]

    @field_validator("departures")
    @classmethod
    def _of_sites(cls, departures: Mapping[str, str], beside: ValidationInfo) -> Mapping[str, str]:
        scored = {site for reports in beside.data.get("payloads", {}).values() for site in reports}
        if strange := sorted(set(departures) - scored):
            raise ValueError(f"sites that have scored, unlike {strange[0]}")
        return departures


def write_test_dice(folder: Path, tables: Payloads, best_round: int, departures: Mapping[str, str]) -> None:
    """Write every payload's evaluation reports, by payload kind and site; see `Scores`."""
    scores = Scores(best_round=best_round, payloads=tables, departures=departures)
    with replacing(folder / TEST_DICE) as stream:
        stream.write(scores.to_json().encode())


def read_test_dice(folder: Path) -> tuple[dict[str, dict[str, Evaluation]], int]:
    """The reports in a results folder by payload kind and site, and the best round; see `read_scores`."""
    found = read_scores(folder)
    tests = {
        kind: {site: reports[site] for site in sorted(reports, key=in_order)}
        for kind, reports in found.payloads.items()
    }
    return tests, found.best_round


def read_scores(folder: Path) -> Scores:
    """What `write_test_dice` wrote into a results folder.

    Raises:
        FlapSamError: it is missing or damaged.
    """
    path = folder / TEST_DICE
    try:
        return parse(Scores, path.read_bytes())
    except (OSError, ValueError) as error:
        raise FlapSamError(f"Test Dice {path} cannot be read ({error}); point to the folder of a run.") from error


def results_below(work: Path, holding: str = TEST_DICE) -> list[Path]:
    """The results folders in or below a folder that hold a file: those of finished runs, if it is the test Dice."""
    return sorted(path.parent for path in work.rglob(holding))
