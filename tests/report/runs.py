# SPDX-License-Identifier: Apache-2.0
"""Made-up runs as they lie in a folder, of any number of sites and rounds."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.records import round_log
from flap_sam.records.pictures import FOLDER, Gallery
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES, write_test_dice
from flap_sam.records.round_log import LayerRecord, RoundRecord, SiteRecord
from flap_sam.records.run_record import FEDERATED, RunRecord, attempt
from flap_sam.records.scores import Evaluation
from flap_sam.sam.weights import Origin
from flap_sam.wire import payload

EXPERIMENT = Experiment(backbone="vit_tiny", image_size=32, rank=4, rounds=3, augmentation="none")
LAYERS = ("image_encoder.blocks.0.attn.adapter_q", "mask_decoder.transformer.layers.0.self_attn.adapter_v")


def record_of(number: int, sites: Sequence[str], layers: Sequence[str] = LAYERS) -> RoundRecord:
    """A round in which all is well; every figure differs from site to site."""
    found = {
        site: SiteRecord(
            slices=10 + k,
            loss=1 / (number + 1) + k / 100,
            steps=3,
            seconds=1.0 + k,
            validation=[min(1.0, 0.1 * number + k / 100), None],
            demo=False,
            norm=2.0 + k if layers else None,
            change=0.5 + k,
            counted_slices=10 + k,
            bytes_down=1000 if number else 10,
            bytes_up=1_250_000,
        )
        for k, site in enumerate(sites)
    }
    kept = {layer: LayerRecord(kept=1 - 0.1 / (k + 1), residual=0.3 + 0.1 * k) for k, layer in enumerate(layers)}
    return RoundRecord(
        run="run",
        round=number,
        validation=0.1 * number,
        loss=0.5,
        svd_energy_kept=0.905 if layers else None,
        layers=kept,
        seconds=2.0,
        server_seconds=0.5,
        sites=found,
        refused={},
        missing=[],
        late=[],
    )


def evaluation_of(value: float, classes: int = 2) -> Evaluation:
    return Evaluation(
        validation=[value] * classes,
        validation_cases=2,
        test=[value, *[None] * (classes - 1)],
        test_spread=[0.125, *[None] * (classes - 1)],
        test_with=[3, *[0] * (classes - 1)],
        test_missed=[1, *[0] * (classes - 1)],
        test_false_positives=[0, *[2] * (classes - 1)],
        test_cases=4,
        hausdorff=[None] * classes,
        surface_dice=[None] * classes,
    )


def made_run(
    work: Path,
    sites: Sequence[str] = ("site-1", "site-2", "site-3"),
    experiment: Experiment = EXPERIMENT,
    rounds: int = 3,
    change: Callable[[RoundRecord], RoundRecord] = lambda record: record,
    layers: Sequence[str] = LAYERS,
    finished: bool = True,
    demo: bool = False,
    weights: Origin = "checkpoint",
    setting: str = FEDERATED,
    pictures: bool = False,
) -> Path:
    """A run in the layout of a simulator workspace; returns its results folder.

    Args:
        change: what is otherwise in a round.
    """
    folder = work / "server" / "simulate_job" / "results"
    folder.mkdir(parents=True)
    for number in range(rounds):
        round_log.append(folder, change(record_of(number, sites, layers)))
    tensors = {name: torch.zeros(shape) for name, shape in payload.sent(experiment).items()}
    for kind in (FINAL, BEST):
        notes = {"round": rounds, "validation_dice": 0.5 if kind == BEST else None, "start": "0" * 64}
        payload.write(folder / PAYLOAD_FILES[kind], tensors, experiment, notes)
    record = RunRecord(
        run="20260102-030405-ab12",
        setting=setting,
        demo=demo,
        weights=weights,
        attempts=[attempt(0, list(sites), dict(RunPolicy(min_sites=2)))],
    )
    record.write(folder)
    if finished:
        reports = {site: evaluation_of(0.5 + k / 100, experiment.classes) for k, site in enumerate(sites)}
        write_test_dice(folder, {FINAL: reports, BEST: reports}, rounds, {})
    if pictures:
        for site in sites:
            draw_pictures(work / site, site, rounds)
    return folder


def absences(record: RoundRecord) -> RoundRecord:
    """One site refused in rounds 0 and 1, one missing in round 1 and late in round 2."""
    sites = dict(record.sites)
    first, second = list(sites)[:2]
    refused, missing, late = {}, [], []
    if record.round < 2:
        refused[first] = "its B A has a norm of 99, more than 10 times the median"
        del sites[first]
    if record.round == 1:
        missing.append(second)
        del sites[second]
    if record.round == 2:
        late.append(second)
    return record.changed(sites=sites, refused=refused, missing=missing, late=late)


def sketched(record: RoundRecord) -> RoundRecord:
    """The first layer's sketch was narrower than the sum."""
    first, *others = record.layers.items()
    return record.changed(layers={first[0]: first[1].changed(excess=0.125), **dict(others)})


def withheld(record: RoundRecord) -> RoundRecord:
    """The sites tell neither loss, steps nor time, and no Dice."""
    bare = {"loss": None, "steps": None, "seconds": None, "validation": [None, None]}
    sites = {name: site.changed(**bare) for name, site in record.sites.items()}
    return record.changed(sites=sites, loss=None, validation=None)


def draw_pictures(folder: Path, site: str, rounds: int, classes: Sequence[str] = ("kidney", "tumour")) -> None:
    """What a site draws of its best and worst cases, in the folder of its run."""
    gallery = Gallery(folder / "simulate_job" / FOLDER, site, classes, rounds)
    rows, columns = np.mgrid[-1:1:48j, -1:1:64j]
    for k in range(4):
        image = np.stack([65535 * np.exp(-(rows**2) - columns**2)] * 3).astype(np.uint16)
        truth = np.stack([np.hypot(rows, columns) < 0.3 + 0.1 * math.sin(n) for n in range(3)]).astype(np.uint8)
        gallery.add(image, truth, np.roll(truth, k, axis=2), (3.0, 1.0, 1.0), (0.9 - k / 10, None))
    gallery.write()
