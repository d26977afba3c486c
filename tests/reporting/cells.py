"""Invented cells of a comparison, as `comparison.read` gives them."""

from flap_sam.experiment import Experiment
from flap_sam.reporting.run_record import FEDERATED, LOCAL

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


def cell(
    dice: float, seed: int = 1, setting: str = FEDERATED, site: str | None = None, up: float | None = None, **changes
) -> dict:
    """A run that reaches `dice` at both sites, a little more at the second; `up` is in MB."""
    changes = {"method": "flap_sam", **changes}
    up = MEGABYTES[changes["method"]] if up is None else up
    settings = {"backbone": "vit_tiny", "image_size": 32, "classes": 2, "dataset": "kits19", "rounds": 3}
    return {
        "job": "job",
        "setting": setting,
        "site": site,
        "changes": changes,
        "seed": seed,
        "experiment": Experiment(**changes, seed=seed).digest(),
        "settings": {"rank": 32, "adapter": "lora", "seed": seed, **settings, **changes},
        "data": {"source": "made", "slices": SLICES, "sha256": "ab" * 32},
        "sites": list(SLICES),
        "seconds": 60.0,
        "payload": "",
        "run": {"demo": False, "weights": "checkpoint", "stints": [{"versions": {"torch": "2"}}]},
        "dice": {"A": dice, "B": dice + 0.02},
        "up": up if setting == FEDERATED else None,
        "down": 0.9 * up if setting == FEDERATED else None,
    }


def row(*dice: float, setting: str = FEDERATED, **changes) -> list[dict]:
    """The cells of a row, a seed a figure; locally one at every site."""
    sites = SLICES if setting == LOCAL else [None]
    return [cell(value, seed, setting, site, **changes) for seed, value in enumerate(dice, 1) for site in sites]
