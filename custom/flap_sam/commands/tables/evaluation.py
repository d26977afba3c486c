# SPDX-License-Identifier: Apache-2.0
"""Scores of label maps, case by case and class by class, as tables that say what they leave out."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from flap_sam.foundation.text import as_text, count, figure, mean_and_spread
from flap_sam.records.scores import FALSE_POSITIVE, MISSED, CaseScore

METRICS = (("dice", "Dice", 3), ("hausdorff", "HD95 mm", 1), ("surface_dice", "surface Dice", 3))
VOLUMES = (("true_ml", "true ml"), ("predicted_ml", "predicted ml"), ("false_positive_ml", "false positive ml"))
RULES = (
    "The means are over the n cases whose truth has the class. In a missed one Dice and surface Dice are 0 and HD95 is "
    "the diagonal of the scan. A false positive, found where the truth has nothing of the class, has no Dice and no "
    "HD95 and is in no mean; its volume is in the last column, as is all that is predicted outside the truth."
)


def evaluation_table(scores: Sequence[CaseScore], classes: Sequence[str], tolerance: float) -> str:
    """A row a case and class; then a row a class, with means and how many cases they are of, and what was missed."""
    cases = Table(title=f"label maps against the truth, surface Dice at {tolerance:g} mm")
    for column in ("case", "class", "outcome"):
        cases.add_column(column, overflow="fold")  # a name is never cut
    for _, title, *_ in (*METRICS, *VOLUMES):
        cases.add_column(title, justify="right")
    for score in scores:
        for k, name in enumerate(classes):
            metrics = [figure(getattr(score, metric)[k], digits) for metric, _, digits in METRICS]
            volumes = [figure(getattr(score, volume)[k], 2) for volume, _ in VOLUMES]
            cases.add_row(score.case, name, score.overlaps[k].outcome, *metrics, *volumes)
        cases.add_section()
    return as_text(cases, _means(scores, classes), RULES)


def extra_text(extra: Sequence[Path]) -> str:
    """Names label maps that were not scored."""
    named = "".join(f"\n  {path}" for path in extra)
    return f"{count(len(extra), 'label map')} not scored, as there is no true one of the same name:{named}"


def _means(scores: Sequence[CaseScore], classes: Sequence[str]) -> Table:
    table = Table(title="mean ± sample standard deviation over the n cases that have the class")
    table.add_column("class")
    table.add_column("n", justify="right")
    for _, title, _ in METRICS:
        table.add_column(title, justify="right")
    for column in ("missed", "false positives", "in all, ml"):
        table.add_column(column, justify="right")
    for k, name in enumerate(classes):
        outcomes = [score.overlaps[k].outcome for score in scores]
        n = sum(score.overlaps[k].true > 0 for score in scores)
        means = [mean_and_spread([getattr(s, metric)[k] for s in scores], digits) for metric, _, digits in METRICS]
        missed, false = outcomes.count(MISSED), outcomes.count(FALSE_POSITIVE)
        alone = sum(s.predicted_ml[k] for s in scores if s.overlaps[k].outcome == FALSE_POSITIVE)
        table.add_row(
            name,
            str(n),
            *means,
            f"{missed} of {n}",
            f"{false} of {len(scores) - n}",
            figure(alone, 2) if false else "-",
        )
    return table
