# SPDX-License-Identifier: Apache-2.0
"""Which settings of an experiment are read under which choices: the one table of it, a row for every setting.

A setting is read where each setting in its row is read itself and has one of the values named there; where its row is
empty it is read always. A strategy that another package brings says itself what it reads. `ranks` has a row for
another reason too: adapters of unlike ranks can only be averaged by their changes B A. `Experiment` refuses a setting
that is not read and does not have its default.
"""

from collections.abc import Mapping

from flap_sam.config import strategies

LORA_METHODS = ("loraft", "loradecft", "flap_sam")
REFACTORISING = tuple(name for name, traits in strategies.OURS.items() if traits.reads)
READ_WITH: dict[str, dict[str, tuple[str, ...]]] = {
    "dataset": {},
    "classes": {},
    "backbone": {},
    "image_size": {},
    "method": {},
    "adapter": {"method": LORA_METHODS},
    "rank": {"method": (*LORA_METHODS, "masam")},
    "alpha": {"method": (*LORA_METHODS, "masam")},
    "experts": {"adapter": ("mole",)},
    "prompt_grid": {},
    "normalisation": {},
    "augmentation": {},
    "foreground_share": {},
    "rounds": {},
    "local_epochs": {},
    "batch_size": {},
    "learning_rate": {},
    "weight_decay": {},
    "warmup_steps": {},
    "max_epochs": {},
    "decay_power": {},
    "proximal": {},
    "strategy": {"method": LORA_METHODS},
    "split": {"strategy": REFACTORISING},
    "energy": {"strategy": REFACTORISING},
    "sketch_width": {"strategy": ("sketch",)},
    "ranks": {"strategy": REFACTORISING},
    "robust": {},
    "hostile_share": {"robust": ("trimmed-mean", "krum")},
    "server_optimizer": {},
    "server_learning_rate": {"server_optimizer": ("momentum", "adam", "yogi")},
    "payload_dtype": {},
    "surface_tolerance": {},
    "seed": {},
}


def lack(name: str, settings: Mapping[str, object]) -> tuple[str, tuple[str, ...]] | None:
    """Why a setting is not read: another setting, and the values of that with which it would be; None if it is read.

    Args:
        settings: all of an experiment.
    """
    for other, values in READ_WITH[name].items():
        if deeper := lack(other, settings):
            return deeper
        if settings[other] not in values and not (other == "strategy" and strategies.reads(settings[other], name)):
            return other, values
    return None
