# SPDX-License-Identifier: Apache-2.0
"""FLAP-SAM on NVIDIA FLARE: hospitals fine-tune the Segment Anything Model together (arXiv 2407.21739).

From Python, in the order of use:

    prepare      volumes become the store that sites train from
    Experiment   what is trained
    RunPolicy    how a run is conducted
    Site         where data, checkpoint and device are
    simulate     a federation on this machine, through FLARE's simulator
    train        the same experiment without a federation: one site alone, or all data in one place
    Model        a trained payload and SAM's weights put together
    segment      a payload and a new scan become a label map

Each name is imported when it is first asked for. What cannot be done raises `flap_sam.errors.FlapSamError`, one
sentence that says what to do.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"

# Threads that wait give their core away, rather than spin on it; torch reads this when it is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if TYPE_CHECKING:
    from flap_sam.config.experiment import Experiment
    from flap_sam.config.run_policy import RunPolicy
    from flap_sam.config.site import Site
    from flap_sam.data.prepare import prepare
    from flap_sam.experiments.alone import train
    from flap_sam.experiments.simulate import simulate
    from flap_sam.inference.model import Model
    from flap_sam.inference.segmentation import segment

PLACES = {
    "prepare": "data.prepare",
    "Experiment": "config.experiment",
    "RunPolicy": "config.run_policy",
    "Site": "config.site",
    "simulate": "experiments.simulate",
    "train": "experiments.alone",
    "Model": "inference.model",
    "segment": "inference.segmentation",
}
__all__ = ["Experiment", "Model", "RunPolicy", "Site", "prepare", "segment", "simulate", "train"]


def __getattr__(name: str) -> object:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
