"""A payload and SAM's weights put together again."""

from dataclasses import dataclass
from pathlib import Path

import torch

from flap_sam.errors import FlapSamError
from flap_sam.experiment import Experiment
from flap_sam.federation import payload
from flap_sam.sam.checkpoint import network_for, start_digest
from flap_sam.sam.network import FlapSam


@dataclass(frozen=True)
class Model:
    """A trained network, on the CPU.

    Args:
        experiment: that trained it, resolved.
        notes: on the run it comes from, as in the payload's metadata.
    """

    network: FlapSam
    experiment: Experiment
    notes: dict[str, object]

    @classmethod
    def load(cls, path: Path, checkpoint: Path | None) -> "Model":
        """The network of a payload file.

        Mixture gates never leave their sites; here every expert counts alike.

        Args:
            checkpoint: the SAM weights that the sites started from; None where they started from random weights.

        Raises:
            FlapSamError: the payload is none, or damaged; the checkpoint cannot be read, or is not the one that the
                payload was trained from.
        """
        found = payload.read(path)
        network, experiment, _ = network_for(found.experiment, checkpoint)
        _check_start(path, checkpoint, found, start_digest(network, experiment))
        with torch.no_grad():
            parameters = dict(network.named_parameters())
            for name, tensor in found.tensors.items():
                parameters[name].copy_(tensor)
        network.requires_grad_(False)
        return cls(network.eval(), experiment, found.notes)


def _check_start(path: Path, checkpoint: Path | None, found: payload.Payload, start: str) -> None:
    wanted = found.notes.get("start")
    if wanted == start:
        return
    if not isinstance(wanted, str):
        raise FlapSamError(f"Payload {path} does not say what it was trained from; train it with this version.")
    given = f"{checkpoint} gives" if checkpoint else "random weights give"
    raise FlapSamError(
        f"Payload {path} was trained from a network of sha256 {wanted[:64]}, {given} {start}; point --checkpoint "
        "to the SAM weights that its sites used, or leave it out if they had none."
    )
