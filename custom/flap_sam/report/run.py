# SPDX-License-Identifier: Apache-2.0
"""A run as it lies in a folder, read whole."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import sha256
from flap_sam.foundation.text import in_order
from flap_sam.records import pictures, round_log, run_record
from flap_sam.records.results import FINAL, PAYLOAD_FILES, TEST_DICE, read_test_dice, results_below
from flap_sam.records.round_log import ROUND_LOG, RoundRecord, SiteRecord
from flap_sam.records.run_record import RunRecord
from flap_sam.records.scores import Evaluation
from flap_sam.wire import payload


@dataclass(frozen=True)
class PayloadFile:
    """A payload's file: size in bytes, hash, the round that starts from it, and its validation Dice where known."""

    name: str
    size: int
    sha256: str
    round: int
    validation: float | None


@dataclass(frozen=True)
class FinishedRun:
    """All that a run left.

    Args:
        experiment: resolved.
        payloads, tests: by payload kind; tests by site within, empty where the run is not finished.
        best_round: the round that the best payload starts; None where the run is not finished.
        pictures: captions and files of the last payload's, where the sites drew any below the folder.
    """

    record: RunRecord
    rounds: list[RoundRecord]
    experiment: Experiment
    payloads: Mapping[str, PayloadFile]
    tests: Mapping[str, Mapping[str, Evaluation]]
    best_round: int | None
    pictures: list[tuple[pictures.Caption, bytes]]

    @property
    def finished(self) -> bool:
        """Whether the last payload was scored; if after fewer rounds than planned, the run stopped early."""
        return bool(self.tests)

    @property
    def sites(self) -> list[str]:
        """All that took part or were asked, in the order of their numbers."""
        found = {site for record in self.rounds for site in [*record.sites, *record.refused, *record.missing]}
        return sorted(found.union(*(attempt.sites for attempt in self.record.attempts)), key=in_order)

    @property
    def answering(self) -> list[str]:
        """The sites that counted at least once; of a run without a federation, its data in one name."""
        return sorted({site for record in self.rounds for site in record.sites}, key=in_order)

    @property
    def answers(self) -> list[SiteRecord]:
        """Every counted answer of every round."""
        return [answer for record in self.rounds for answer in record.sites.values()]

    def by_round(self, site: str, figure: Callable[[SiteRecord], float | None]) -> list[float | None]:
        """A figure of a site in every round; None where it was not counted."""
        return [figure(r.sites[site]) if site in r.sites else None for r in self.rounds]


def run_folder(work: Path) -> Path:
    """The results folder of the one run in or below a folder.

    Raises:
        FlapSamError: there is none, or there are several.
    """
    found = results_below(work, ROUND_LOG)
    if len(found) == 1:
        return found[0]
    if found:
        raise FlapSamError(
            f"{len(found)} runs lie below {work}: {', '.join(map(str, found))}; point to one of them, a page shows one."
        )
    raise FlapSamError(
        f"No run lies below {work}; point to a simulator workspace, a downloaded job, or a folder of `flap-sam train` "
        "or `flap-sam compare`."
    )


def read(work: Path) -> FinishedRun:
    """The one run in or below a folder.

    Raises:
        FlapSamError: there is none, there are several, or one of its files is missing or damaged.
    """
    folder = run_folder(work)
    rounds = round_log.read(folder)
    paths = {kind: folder / name for kind, name in PAYLOAD_FILES.items()}
    found = {kind: payload.read(path) for kind, path in paths.items() if kind == FINAL or path.exists()}
    tests, best_round = read_test_dice(folder) if (folder / TEST_DICE).exists() else ({}, None)
    experiment = found[FINAL].experiment
    scored = {len(report.test) for reports in tests.values() for report in reports.values()}
    if scored - {experiment.classes}:
        raise FlapSamError(
            f"Test Dice {folder / TEST_DICE} is of {max(scored)} classes, payload {paths[FINAL]} of "
            f"{experiment.classes}; point to the folder of one run."
        )
    drawn = [pictures.read(path) for path in pictures.pictures_below(work, len(rounds))]
    return FinishedRun(
        record=run_record.read(folder),
        rounds=rounds,
        experiment=experiment,
        payloads={kind: _payload_file(paths[kind], held.notes) for kind, held in found.items()},
        tests=tests,
        best_round=best_round,
        pictures=sorted(drawn, key=lambda shown: in_order(shown[0].site)),
    )


def _payload_file(path: Path, notes: Mapping[str, object]) -> PayloadFile:
    number, dice = notes.get("round"), notes.get("validation_dice")
    if not isinstance(number, int) or not isinstance(dice, float | None):
        raise FlapSamError(f"Payload {path} starts round {number!r}, with a Dice of {dice!r}; expected numbers.")
    return PayloadFile(path.name, path.stat().st_size, sha256(path), number, dice)
