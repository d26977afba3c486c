# SPDX-License-Identifier: Apache-2.0
"""Scores of cases that need no volumes."""

from collections.abc import Sequence

from flap_sam.records.scores import CaseScore, Overlap


def overlap_of(dice: float | None) -> Overlap:
    """Of a class with this Dice in one thousand true voxels; None: neither truth nor prediction has the class."""
    return Overlap(0, 0, 0) if dice is None else Overlap(1000, 1000, round(1000 * dice))


def scored(case: str, dice: Sequence[float | None], *surfaces) -> CaseScore:
    return CaseScore(case, tuple(map(overlap_of, dice)), 0.001, *surfaces)
