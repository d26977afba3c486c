# SPDX-License-Identifier: Apache-2.0
"""A payload that a run starts from in place of the sites' own start: a file that the server's operator has laid out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from flap_sam.config.experiment import Experiment
from flap_sam.config.site import ENVIRONMENT
from flap_sam.errors import FlapSamError
from flap_sam.sam.build import build
from flap_sam.wire import encoding, payload
from flap_sam.wire.form import in_form_of_round, turning_pairs

ALIKE = ("backbone", "image_size", "classes", "method", "adapter", "rank", "alpha", "experts")
"""Settings that say what a payload's tensors mean."""


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Args:
        name: of the file.
        tensors: float32, rounded as the job's wire rounds them; adapters split as the first round needs them.
        experiment: the job's, with the backbone and image size of the payload.
        frozen: digest of the weights that the payload was trained on; None where an earlier version did not note it.
    """

    name: str
    tensors: Mapping[str, Tensor]
    experiment: Experiment
    frozen: str | None

    @classmethod
    def read(cls, folder: Path | None, name: str, job: Experiment) -> "Start":
        """The payload of a name in the operator's folder.

        Raises:
            FlapSamError: there is no such folder or file, it is no payload, or one of another form than the job's.
        """
        if folder is None:
            raise FlapSamError(
                f"The run policy's start is {name!r}, but the server names no folder of payloads; its operator may set "
                f"`payloads` in its flap_site.json, or {ENVIRONMENT['payloads']}."
            )
        found = payload.read(folder / name)
        experiment = job.resolved(found.experiment.backbone, found.experiment.image_size)
        for setting in ALIKE:
            there, here = getattr(found.experiment, setting), getattr(experiment, setting)
            if there != here:
                raise FlapSamError(
                    f"The start {name} was trained with {setting} {there!r}, the job has {here!r}; change the job, or "
                    "start from another payload."
                )
        checked = payload.check(found.tensors, payload.types_kept(experiment))
        pairs = turning_pairs(build(experiment), experiment)
        sent = encoding.down(in_form_of_round(checked, experiment, pairs, 0), experiment.payload_dtype)
        frozen = found.notes.get("frozen")
        return cls(
            name, {n: t.float() for n, t in sent.items()}, experiment, frozen if isinstance(frozen, str) else None
        )

    def check(self, experiment: Experiment, frozen: str) -> None:
        """Raise a FlapSamError where a site has another network than the payload was trained on.

        Args:
            experiment: resolved, that the site ran; frozen: its digest of what no round changes.
        """
        if experiment != self.experiment:
            raise FlapSamError(
                f"it runs {experiment.backbone} at {experiment.image_size} px, but the start {self.name} is for "
                f"{self.experiment.backbone} at {self.experiment.image_size} px; give it the weights of that"
            )
        if self.frozen not in (None, frozen):
            raise FlapSamError(
                f"its frozen weights are not those that the start {self.name} was trained on; give it the same weights"
            )
