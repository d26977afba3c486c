# SPDX-License-Identifier: Apache-2.0
"""A report's page: the answer at a glance, then its sections."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from flap_sam.config.experiment import Experiment
from flap_sam.foundation.means import mean_of_known, spread_of_known
from flap_sam.foundation.text import count, figure, size
from flap_sam.records.cell import FinishedCell
from flap_sam.records.results import BEST, FINAL
from flap_sam.records.run_record import FEDERATED
from flap_sam.report import comparison, provenance, quality, rounds
from flap_sam.report.page import Page, Section
from flap_sam.report.run import FinishedRun
from flap_sam.sam.weights import NOTICES, Origin

DEMO = "The demo: the sites worked on drawn volumes, not on scans. These figures say nothing about patients."
PATIENTS = "This page shows slices of patients, from the sites' own folders. Do not pass it on."
SETTING_NAMES = {"federated": "Federated run", "local": "Local run, one site alone", "centralized": "Centralised run"}


def of_run(run: FinishedRun, cells: Sequence[FinishedCell] = ()) -> Page:
    """The page of a run.

    Args:
        cells: of a grid to compare it with (see `comparison.read`); may be empty.
    """
    first, *resumptions = run.record.attempts
    experiment = run.experiment
    federated = run.record.setting == FEDERATED
    sections = [
        quality.dice(run),
        *([quality.compared(cells)] if cells else []),
        rounds.training(run),
        *([rounds.attendance(run), rounds.traffic(run), *rounds.low_rank(run)] if federated else []),
        *quality.pictures(run),
        provenance.privacy(run),
        provenance.configuration(experiment, run.record.attempts[-1].policy if federated else None),
        provenance.files(run),
    ]
    return Page(
        title=f"{SETTING_NAMES[run.record.setting]} {run.record.run}".strip(),
        facts=[
            f"{_method(experiment)} on {experiment.backbone} at {experiment.image_size} px, {experiment.dataset}, "
            f"{count(experiment.classes, 'class', 'classes')}",
            f"started {_time(first.started)}"
            + "".join(f", resumed {_time(s.started)} at round {s.first_round}" for s in resumptions),
        ],
        notices=[*_pictures_notice(run), *notices([(run.record.demo, run.record.weights)])],
        health=_health(run),
        figures=_at_a_glance(run),
        sections=sections,
    )


def of_grid(cells: Sequence[FinishedCell]) -> Page:
    """The page of a grid of runs."""
    rows, records = comparison.rows(cells), [cell.run for cell in cells]
    shown = next((cell for cell in cells if cell.setting == FEDERATED), cells[0])
    experiment = Experiment.from_dict({**shown.settings})
    best = max(rows, key=lambda row: mean_of_known(row.means()) or 0.0)
    varied = _varied(cells)
    seeds = sorted({cell.seed for cell in cells})
    return Page(
        title="Comparison of runs",
        facts=[
            _shared(experiment, varied),
            *([f"varied: {', '.join(varied)}"] if varied else []),
            f"first run started {_time(min(record.attempts[0].started for record in records))}",
        ],
        notices=notices((record.demo, record.weights) for record in records),
        health=None,
        figures=[
            ("Runs", str(len(cells)), f"{count(len(seeds), 'seed')}: {', '.join(map(str, seeds))}"),
            ("Sites", str(len(comparison.sites_of(cells))), ", ".join(comparison.sites_of(cells))),
            ("Highest test Dice", figure(mean_of_known(best.means())), f"{best.label}, {best.setting}"),
            ("Time", f"{sum(cell.seconds for cell in cells) / 60:,.1f} min", "all runs together"),
        ],
        sections=[
            quality.compared(cells),
            provenance.configuration(experiment, None, without=varied),
            Section(
                "provenance",
                "Versions",
                tables=[provenance.versions([record.attempts[0].versions for record in records])],
            ),
        ],
    )


def notices(runs: Iterable[tuple[bool, Origin]]) -> list[str]:
    """What a reader must know of runs: whether they are of the demo, and what they started from."""
    demos, origins = map(set, zip(*runs, strict=True))
    demo = [DEMO] if True in demos else []
    return demo + [notice for origin, notice in NOTICES.items() if origin in origins]


def _varied(cells: Sequence[FinishedCell]) -> list[str]:
    """The settings, and last the seed, in which the cells differ."""
    found = [{**cell.changes, "seed": cell.seed} for cell in cells]
    differing = {name for own in found for name in own if any(name not in o or o[name] != own[name] for o in found)}
    return sorted(differing, key=lambda name: (name == "seed", name))


def _shared(experiment: Experiment, varied: Sequence[str]) -> str:
    """What all cells have in common, of an experiment's main settings."""
    told = {
        ("method", "adapter", "experts", "rank"): _method(experiment),
        ("backbone",): experiment.backbone,
        ("image_size",): f"{experiment.image_size} px",
        ("dataset",): experiment.dataset,
        ("classes",): count(experiment.classes, "class", "classes"),
        ("rounds",): count(experiment.rounds, "round"),
    }
    return ", ".join(text for names, text in told.items() if not set(names) & set(varied))


def _at_a_glance(run: FinishedRun) -> list[tuple[str, str, str]]:
    seconds = sum(r.seconds for r in run.rounds)
    found = [*_test_dice(run), ("Rounds", f"{len(run.rounds)} of {run.experiment.rounds}", _duration(seconds))]
    if run.record.setting != FEDERATED:
        sites = run.record.attempts[0].sites
        return [*found, ("Sites", str(len(sites)), ", ".join(sites))]
    counts = sorted({len(r.sites) for r in run.rounds})
    span = " to ".join(str(number) for number in dict.fromkeys((counts[0], counts[-1])))
    up = sum(answer.bytes_up for answer in run.answers)
    less = f"{rounds.full_up(run) / up:,.0f} times less than full fine-tuning" if up else ""
    return [
        *found,
        ("Sites", str(len(run.sites)), f"{span} counted in a round"),
        ("Sent by the sites", size(up), less),
    ]


def _test_dice(run: FinishedRun) -> list[tuple[str, str, str]]:
    if run.best_round is None:
        return []
    final, best = ([mean_of_known(report.test) for report in run.tests[kind].values()] for kind in (FINAL, BEST))
    spread = spread_of_known(final)
    between = "" if spread is None else f", ± {figure(spread)} between them"
    made = "the last payload" if run.best_round == len(run.rounds) else f"made in round {run.best_round - 1}"
    return [
        ("Test Dice, final", figure(mean_of_known(final)), f"mean of the sites{between}"),
        ("Test Dice, best", figure(mean_of_known(best)), made),
    ]


def _health(run: FinishedRun) -> tuple[bool, str]:
    left_out = {site for r in run.rounds for site in [*r.refused, *r.missing]}
    lessened = sum(bool(r.refused or r.missing) for r in run.rounds)
    sentences = []
    if not run.finished:
        sentences.append("The run has not finished: there is no test Dice yet.")
    elif len(run.rounds) < run.experiment.rounds:
        sentences.append(f"The run stopped early, after {len(run.rounds)} of {run.experiment.rounds} rounds.")
    if run.record.setting == FEDERATED:
        sentences.append(
            f"{count(len(left_out), 'site was', 'sites were')} left out at least once, in "
            f"{lessened} of {count(len(run.rounds), 'round')}; see Sites and rounds."
            if left_out
            else "Every site that was asked counted in every round."
        )
    return run.finished and not left_out, " ".join(sentences) or "The run is complete."


def _pictures_notice(run: FinishedRun) -> list[str]:
    return [PATIENTS] if run.pictures and not run.record.demo else []


def _method(experiment: Experiment) -> str:
    adapters = {"lora": "LoRA", "dora": "DoRA", "mole": f"MoLE, {experiment.experts} experts"}
    with_rank = experiment.method in ("loraft", "loradecft", "flap_sam", "masam")
    return experiment.method + (f" ({adapters[experiment.adapter]}, rank {experiment.rank})" if with_rank else "")


def _time(iso: str) -> str:
    return f"{datetime.fromisoformat(iso):%d %B %Y, %H:%M} UTC"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
