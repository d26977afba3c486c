# SPDX-License-Identifier: Apache-2.0
"""Invented cells of a comparison."""

from flap_sam.config.experiment import Experiment
from flap_sam.records.cell import CellNote, Data, FinishedCell
from flap_sam.records.run_record import FEDERATED, LOCAL, Attempt, RunRecord

SLICES = {"A": 10, "B": 30}
MEGABYTES = {
    "fullft": 40.0,
    "loradecft": 4.0,
    "decft": 3.0,
    "pdecft": 0.5,
    "loraft": 1.0,
    "flap_sam": 2.0,
    "masam": 12.0,
}


def note(setting: str, site: str | None, changes: dict, seed: int, experiment: Experiment, sites=SLICES) -> CellNote:
    return CellNote(
        job="job",
        setting=setting,
        site=site,
        changes=changes,
        seed=seed,
        experiment=experiment.digest(),
        settings=dict(experiment),
        data=Data(source="made", slices=SLICES, sha256="ab" * 32),
        start="bundled",
        sites=list(sites),
        seconds=60.0,
        payload="final_model.safetensors",
    )


def cell(
    dice: float, seed: int = 1, setting: str = FEDERATED, site: str | None = None, up: float | None = None, **changes
) -> FinishedCell:
    """A run that reaches `dice` at both sites, a little more at the second; `up` is in MB."""
    changes = {"method": "flap_sam", **changes}
    up = MEGABYTES[changes["method"]] if up is None else up
    settings = {"backbone": "vit_tiny", "image_size": 32, "classes": 2, "dataset": "kits19", "rounds": 3}
    began = Attempt(
        started="2026-01-02T03:04:05", first_round=0, policy={}, sites=list(SLICES), versions={"torch": "2"}
    )
    return FinishedCell(
        **dict(note(setting, site, changes, seed, Experiment(**{**settings, **changes}, seed=seed))),
        run=RunRecord(run="", setting=setting, demo=False, weights="checkpoint", attempts=[began]),
        dice={"A": dice, "B": dice + 0.02},
        up=up if setting == FEDERATED else None,
        down=0.9 * up if setting == FEDERATED else None,
    )


def row(*dice: float, setting: str = FEDERATED, **changes) -> list[FinishedCell]:
    """The cells of a row, a seed a figure; locally one at every site."""
    sites = SLICES if setting == LOCAL else [None]
    return [cell(value, seed, setting, site, **changes) for seed, value in enumerate(dice, 1) for site in sites]
