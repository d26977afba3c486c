# SPDX-License-Identifier: Apache-2.0
"""A payload and SAM's weights put together again."""

from dataclasses import dataclass
from pathlib import Path

import torch

from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError
from flap_sam.sam.checkpoint import network_for, start_digest, start_digest_with_rounds
from flap_sam.sam.network import FlapSam
from flap_sam.sam.weights import Weights, weights_for
from flap_sam.wire import payload


@dataclass(frozen=True)
class Model:
    """A trained network, on the CPU.

    Args:
        experiment: that trained it, resolved.
        notes: on the run it comes from, as in the payload's metadata.
        weights: that it was trained from.
    """

    network: FlapSam
    experiment: Experiment
    notes: dict[str, object]
    weights: Weights

    @classmethod
    def load(cls, path: Path | str, checkpoint: Path | str | None = None) -> "Model":
        """The network of a payload file.

        Mixture gates never leave their sites; here every expert counts alike.

        Args:
            checkpoint: what the sites started from: SAM's weights, or `random`; None is the bundled small SAM.

        Raises:
            FlapSamError: the payload is none, or damaged; the weights cannot be read, or are not those that the payload
                was trained from.
        """
        found = payload.read(path := Path(path))
        weights = weights_for(found.experiment.backbone, None if checkpoint is None else Path(checkpoint))
        network, experiment, _ = network_for(found.experiment, weights.file, weights.pin)
        _check_start(path, weights, found, network, experiment)
        with torch.no_grad():
            parameters = dict(network.named_parameters())
            for name, tensor in found.tensors.items():
                parameters[name].copy_(tensor)
        network.requires_grad_(False)
        return cls(network.eval(), experiment, found.notes, weights)


def _check_start(
    path: Path, weights: Weights, found: payload.Payload, network: FlapSam, experiment: Experiment
) -> None:
    wanted, start = found.notes.get("start"), start_digest(network, experiment)
    if wanted == start or wanted == start_digest_with_rounds(network, experiment):
        return
    if not isinstance(wanted, str):
        raise FlapSamError(f"Payload {path} does not say what it was trained from; train it with this version.")
    raise FlapSamError(
        f"Payload {path} was trained from a network of sha256 {wanted[:64]}; from {weights} it is {start}: set "
        "--checkpoint to the SAM weights that its sites used, or to `random` if they drew theirs, or leave it and "
        "FLAP_SAM_CHECKPOINT out if they used the bundled small SAM."
    )
