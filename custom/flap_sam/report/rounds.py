# SPDX-License-Identifier: Apache-2.0
"""What happened in the rounds: loss, who took part, what travelled, what the server made of it."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from flap_sam.foundation.text import in_order, megabytes, size
from flap_sam.records.round_log import RoundRecord
from flap_sam.report import figures
from flap_sam.report.page import Bar, Section, Table
from flap_sam.report.run import FinishedRun
from flap_sam.sam.inventory import full_fine_tuning, inventory


def training(run: FinishedRun) -> Section:
    """Loss and time of every site, where they tell them."""
    sites = run.answering
    drawn = []
    for name, title, unit, figure_of in (
        ("loss", "Training loss by site", "loss", lambda a: a.loss),
        ("seconds", "Training time by site", "seconds", lambda a: a.seconds),
    ):
        values = {site: run.by_round(site, figure_of) for site in sites}
        if any(value is not None for series in values.values() for value in series):
            drawn.append(figures.lines(name, title, unit, values))
    sentences = [] if drawn else ["The sites withhold loss and time."]
    return Section("training", "Training", sentences=sentences, figures=drawn)


def attendance(run: FinishedRun) -> Section:
    """Who counted in which rounds, who did not, and why."""
    rows = []
    for site in run.sites:
        answers = [r.sites[site] for r in run.rounds if site in r.sites]
        rows.append(
            [
                site,
                str(max((a.slices for a in answers), default="-")),
                str(len(answers)),
                *(str(sum(site in getattr(r, kind) for r in run.rounds)) for kind in ("refused", "missing", "late")),
            ]
        )
    tables = [Table("Rounds by site", ["site", "slices", "counted", "refused", "missing", "late"], rows)]
    reasons = _left_out(run)
    if reasons:
        head = ["site", "what", "rounds", "reason"]
        tables.append(Table("Who was left out, and why", head, reasons, words=len(head)))
    return Section("sites", "Sites and rounds", figures=[figures.attendance(run)], tables=tables)


def _left_out(run: FinishedRun) -> list[list[str]]:
    rounds: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for r in run.rounds:
        for site, reason in r.refused.items():
            rounds[site, "refused", reason].append(r.round)
        for site in r.missing:
            rounds[site, "missing", "no usable answer before the round closed"].append(r.round)
        for site in set(r.late):
            rounds[site, "late", "its answer to an earlier round came then, and was dropped"].append(r.round)
    ordered = sorted(rounds, key=lambda key: (in_order(key[0]), rounds[key]))
    return [[site, what, spans(rounds[site, what, reason]), reason] for site, what, reason in ordered]


def spans(numbers: Sequence[int]) -> str:
    """Rising numbers in few words: 0 to 2, 5."""
    ends = [None, *numbers, None]
    starts = [b for a, b in pairwise(ends) if b is not None and (a is None or b != a + 1)]
    lasts = [a for a, b in pairwise(ends) if a is not None and (b is None or b != a + 1)]
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in zip(starts, lasts, strict=True))


def traffic(run: FinishedRun) -> Section:
    """Bytes by site and round, beside full fine-tuning's."""
    rows = []
    for site in run.answering:
        answers = [r.sites[site] for r in run.rounds if site in r.sites]
        sums = [sum(getattr(a, way) for a in answers) for way in ("bytes_up", "bytes_down")]
        rows.append([site, *(megabytes(s / len(answers)) for s in sums), *map(megabytes, sums), megabytes(sum(sums))])
    up, down = (sum(getattr(a, way) for a in run.answers) for way in ("bytes_up", "bytes_down"))
    full = full_up(run)
    table = Table(
        "MB by site",
        ["site", "up a round", "down a round", "up in all", "down in all", "both"],
        rows,
        foot=[["all sites", "", "", megabytes(up), megabytes(down), megabytes(up + down)]],
        note="Encoded messages of the rounds in which the site counted, in 10^6 bytes; encryption adds to them. In the "
        "first round nothing but the experiment comes down, unless the run starts from a payload. For the final "
        "scoring one or two more payloads go to every site; they are not in the figures.",
    )
    count = inventory(run.experiment).whole
    sentence = (
        f"A site trains {count.trained:,} of {count.total:,} numbers ({100 * count.trained / count.total:.1f} %) and "
        f"sends {count.sent:,}. Full fine-tuning would send {full_fine_tuning(run.experiment).whole.sent:,}."
    )
    longest = max(up, full)
    bars = [
        Bar("This run, from the sites", size(up), up / longest),
        Bar("Full fine-tuning, as many answers", size(full), full / longest),
    ]
    return Section("traffic", "Traffic", [sentence], bars=bars, figures=[figures.traffic(run)], tables=[table])


def full_up(run: FinishedRun) -> float:
    """Bytes that the same answers would have under full fine-tuning."""
    return full_fine_tuning(run.experiment).megabytes * 1e6 * len(run.answers)


def low_rank(run: FinishedRun) -> list[Section]:
    """What the truncation kept and the norms of the updates; nothing of a method without adapters."""
    drawn, tables = [], []
    if run.rounds[-1].layers:
        first, last = run.rounds[0], run.rounds[-1]
        residuals = {"all layers": [_norm(layer.residual for layer in r.layers.values()) for r in run.rounds]}
        drawn += [
            figures.energy(run),
            figures.lines(
                "residual", "Norm of what the SVD dropped", "norm", residuals, "Root of the sum over layers."
            ),
        ]
        rows = [
            [figures.layer_name(path), *(_percent(r, path) for r in (first, last)), f"{last.layers[path].residual:.3g}"]
            for path in last.layers
        ]
        head = ["layer", "first round, %", "last round, %", "norm dropped"]
        if any(layer.excess is not None for layer in last.layers.values()):
            head.append("beyond the SVD")
            for row, layer in zip(rows, last.layers.values(), strict=True):
                row.append("-" if layer.excess is None else f"{layer.excess:.3g}")
        tables.append(
            Table(
                "Energy kept by layer",
                head,
                rows,
                note="Energy is the squared Frobenius norm of B·A; dropped in the last round.",
            )
        )
    if any(answer.norm is not None for answer in run.answers):
        norms = {site: run.by_round(site, lambda a: a.norm) for site in run.answering}
        drawn.append(figures.lines("norms", "Norm of the sites' B·A", "norm", norms, "Frobenius, over all layers."))
    return [Section("low-rank", "Low-rank aggregation", figures=drawn, tables=tables)] if drawn else []


def _percent(record: RoundRecord, path: str) -> str:
    return f"{100 * record.layers[path].kept:.3f}" if path in record.layers else "-"


def _norm(values: Iterable[float]) -> float:
    return math.sqrt(math.fsum(value**2 for value in values))
