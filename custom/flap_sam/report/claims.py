# SPDX-License-Identifier: Apache-2.0
"""What the paper claims of its comparison (arXiv 2407.21739), and what the cells of ours say to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flap_sam.foundation.means import mean_of_known, spread_of_known
from flap_sam.foundation.text import count, markdown_table, mean_and_spread
from flap_sam.records.run_record import FEDERATED, LOCAL
from flap_sam.report.comparison import Row

YES, NO, UNDECIDED = "yes", "no", "not decided"
RULE = (
    "Compared is the test Dice as mean of the sites; a spread is a sample standard deviation over the seeds. *Beats*: "
    "the mean of the differences, seed by seed, is larger than their spread, and they have one sign; else nothing is "
    "decided. That is weak evidence: of rows that do not differ, two seeds would decide 39 in 100, three 21. *Reaches "
    "with less traffic*: it is not below the other by more than the other's spread, and a site sends less. Nothing is "
    "decided before all seeds are there, nor by a single seed."
)


class Side(NamedTuple):
    """A row of the table."""

    label: str
    setting: str

    def __str__(self) -> str:
        return f"{self.setting} {self.label}"


@dataclass(frozen=True)
class Claim:
    """That one row beats the other in Dice; or, where it `saves`, that it reaches it with less traffic."""

    one: Side
    other: Side
    saves: bool = False

    def __str__(self) -> str:
        return f"{self.one} {f'reaches {self.other} with less traffic' if self.saves else f'beats {self.other}'}"


@dataclass(frozen=True)
class Verdict:
    """A claim, `YES`, `NO` or `UNDECIDED`, and the figures that say so."""

    claim: Claim
    answer: str
    figures: str


OURS = Side("flap_sam", FEDERATED)
CLAIMS = (
    Claim(OURS, Side("flap_sam", LOCAL)),
    Claim(OURS, Side("fullft", FEDERATED)),
    Claim(OURS, Side("loradecft", FEDERATED), saves=True),
    Claim(OURS, Side("pdecft", FEDERATED)),
    Claim(OURS, Side("loraft", FEDERATED)),
    Claim(Side("flap_sam, rank 16", FEDERATED), OURS, saves=True),
    Claim(Side("flap_sam, rank 4", FEDERATED), OURS, saves=True),
    Claim(OURS, Side("flap_sam, dora", FEDERATED), saves=True),
    Claim(OURS, Side("flap_sam, mole", FEDERATED), saves=True),
    Claim(OURS, Side("masam", FEDERATED), saves=True),
)


def verdicts(rows: Sequence[Row], seeds: Sequence[int]) -> list[Verdict]:
    """On every claim of which a row is there.

    Args:
        seeds: that there are to be of every row.
    """
    found = {Side(row.label, row.setting): row for row in rows}
    return [_verdict(claim, found, seeds) for claim in CLAIMS if {claim.one, claim.other} & found.keys()]


def markdown(found: Sequence[Verdict]) -> str:
    """Verdicts as a table in GitHub's form."""
    lines = [[str(verdict.claim), f"**{verdict.answer}**", verdict.figures] for verdict in found]
    return markdown_table(["claim", "", "figures"], lines)


def traffic_ratio(one: Row, other: Row) -> float | None:
    """How many times more a site sends in a round under the other; None without a federation."""
    sent, others = (mean_of_known(row.up) for row in (one, other))
    return others / sent if sent and others else None


def _verdict(claim: Claim, found: Mapping[Side, Row], seeds: Sequence[int]) -> Verdict:
    sides = [claim.one, claim.other]
    known = [found[side].by_seed() if side in found else {} for side in sides]
    there = [(side, len(own.keys() & set(seeds))) for side, own in zip(sides, known, strict=True)]
    missing = [f"{side}: {number} of {count(len(seeds), 'seed')}" for side, number in there if number < len(seeds)]
    shared = [seed for seed in seeds if all(seed in own for own in known)]
    differences = {seed: known[0][seed] - known[1][seed] for seed in shared}
    ratio = traffic_ratio(*(found[side] for side in sides)) if all(side in found for side in sides) else None
    answer = UNDECIDED
    if not missing:
        answer = _reaches(differences, known[1], ratio) if claim.saves else _beats(differences)
    return Verdict(claim, answer, "; ".join([*missing, *_figures(known, differences, ratio)]))


def _beats(differences: Mapping[int, float]) -> str:
    mean, spread = mean_of_known(differences.values()), spread_of_known(differences.values())
    if (
        mean is None
        or spread is None
        or abs(mean) <= spread
        or len({difference > 0 for difference in differences.values()}) > 1
    ):
        return UNDECIDED
    return YES if mean > 0 else NO


def _reaches(differences: Mapping[int, float], other: Mapping[int, float], ratio: float | None) -> str:
    mean, spread = mean_of_known(differences.values()), spread_of_known(other[seed] for seed in differences)
    if mean is None or spread is None:
        return UNDECIDED
    return YES if mean >= -spread and ratio is not None and ratio > 1 else NO


def _figures(
    known: Sequence[Mapping[int, float]], differences: Mapping[int, float], ratio: float | None
) -> Iterator[str]:
    if differences:
        one, other = (mean_and_spread((own[seed] for seed in differences), 3) for own in known)
        spread = spread_of_known(differences.values())
        mean = f"{mean_of_known(differences.values()):+.3f}" + ("" if spread is None else f" ± {spread:.3f}")
        by_seed = ", ".join(f"{difference:+.3f}" for difference in differences.values())
        yield f"{one} against {other}, difference {mean} ({by_seed})"
    if ratio is not None:
        yield f"{ratio:.3g} times less traffic" if ratio >= 1 else f"{1 / ratio:.3g} times the traffic"
