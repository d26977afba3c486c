# SPDX-License-Identifier: Apache-2.0
"""The tensors that travel: which they are, the check before any is used, and their file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation import strict
from flap_sam.foundation.files import replacing
from flap_sam.sam.build import build
from flap_sam.sam.methods import ParameterRow, parameter_table
from flap_sam.wire import encoding
from flap_sam.wire.encoding import WireType

KIND = "flap-sam payload"
VERSION = 1

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Payload:
    """A payload as its file holds it.

    Args:
        experiment: resolved.
        notes: on the run it comes from; `start` and `frozen` are the digests of its networks (see `sam.checkpoint`).
    """

    tensors: dict[str, Tensor]
    experiment: Experiment
    notes: dict[str, object]


@cache
def travelling(experiment: Experiment) -> tuple[ParameterRow, ...]:
    """The rows of the tensors of a resolved experiment's payloads, in the network's order."""
    return tuple(row for row in parameter_table(build(experiment), experiment.method) if row.sent)


def sent(experiment: Experiment) -> Shapes:
    """Names and shapes of the tensors of a resolved experiment's payloads."""
    return {row.name: row.shape for row in travelling(experiment)}


def leaving(experiment: Experiment, number: int) -> Shapes:
    """Names and shapes of those that leave a site after the round of this number."""
    return {row.name: row.shape for row in travelling(experiment) if row.leaves_in(number)}


def types_up(experiment: Experiment, number: int) -> Mapping[str, WireType]:
    """Shapes and types of a site's tensors on the wire after the round of this number."""
    return encoding.types_up(leaving(experiment, number), experiment.payload_dtype)


def types_down(experiment: Experiment) -> Mapping[str, WireType]:
    """Shapes and types of the server's tensors on the wire."""
    return encoding.types_down(sent(experiment), experiment.payload_dtype)


def types_kept(experiment: Experiment) -> Mapping[str, WireType]:
    """Shapes and types of a payload on the server and in its file: float32."""
    return encoding.types_down(sent(experiment), "float32")


def check(tensors: object, expected: Mapping[str, WireType]) -> dict[str, Tensor]:
    """The tensors, once all names, shapes, types and numbers are as expected; nothing is used before.

    Raises:
        FlapSamError: names the first tensor, in the network's order, that differs.
    """
    if not isinstance(tensors, Mapping):
        raise _refused(f"it is {type(tensors).__name__}", "named tensors")
    for name, (shape, dtype) in expected.items():
        if name not in tensors:
            raise _refused(f"tensor {name} is missing", f"shape {list(shape)}")
        tensor = tensors[name]
        if not isinstance(tensor, Tensor):
            raise _refused(f"{name} is {type(tensor).__name__}", "a tensor")
        if tuple(tensor.shape) != shape:
            raise _refused(f"tensor {name} has shape {list(tensor.shape)}", f"{list(shape)}")
        if tensor.dtype != dtype or tensor.layout != torch.strided:
            raise _refused(f"tensor {name} is {tensor.dtype}, {tensor.layout}", f"dense {dtype}")
        if not torch.isfinite(tensor).all():
            raise _refused(f"tensor {name} holds NaN or infinity", "finite numbers")
    extra = [str(name)[:200] for name in tensors if name not in expected]
    if extra:
        raise _refused(f"tensor {extra[0]} is not part of the experiment", f"{len(expected)} tensors")
    return {name: tensors[name] for name in expected}


def _refused(found: str, expected: str) -> FlapSamError:
    message = f"The payload is refused: {found}; expected {expected}."
    return FlapSamError(message, Reason.PAYLOAD)


def write(path: Path, tensors: Mapping[str, Tensor], experiment: Experiment, notes: Mapping[str, object]) -> None:
    """Write a payload atomically as safetensors, the resolved experiment and `notes` in its metadata."""
    metadata = {"format": f"{KIND} {VERSION}", "experiment": experiment.to_json(), "notes": json.dumps(dict(notes))}
    with replacing(path) as stream:
        stream.write(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata=metadata))


def read(path: Path) -> Payload:
    """Read a payload and check it against the experiment it names.

    Raises:
        FlapSamError: the file is missing or damaged, is no payload, or differs from its experiment.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise FlapSamError(f"Payload {path} cannot be read ({error}); point to a run's .safetensors.") from error
    _check_format(path, metadata.get("format"))
    experiment = Experiment.from_json(metadata.get("experiment", ""))
    return Payload(check(tensors, types_kept(experiment)), experiment, _notes(path, metadata.get("notes")))


def _check_format(path: Path, found: str | None) -> None:
    kind, _, version = (found or "").rpartition(" ")
    if kind != KIND or not version.isdecimal():
        raise FlapSamError(f"Payload {path} has format {found!r}; expected '{KIND} {VERSION}'.")
    try:
        strict.check_version({strict.VERSION: int(version)}, VERSION)
    except ValueError as error:
        raise FlapSamError(f"Payload {path} cannot be read: {error}.") from error


def _notes(path: Path, text: str | None) -> dict[str, object]:
    try:
        notes = json.loads(text or "")
    except (ValueError, RecursionError):
        notes = None
    if not isinstance(notes, dict):
        raise FlapSamError(f"Payload {path} has no notes on its run in its metadata; point to a run's .safetensors.")
    return notes
