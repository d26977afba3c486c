# SPDX-License-Identifier: Apache-2.0
"""Encoder and decoder as ONNX, written only if onnxruntime computes with them what torch does."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from flap_sam.config.experiment import WINDOW_SLICES
from flap_sam.errors import FlapSamError
from flap_sam.export.effective import merged
from flap_sam.foundation.extras import MODULES, require
from flap_sam.foundation.own_folder import new_folder
from flap_sam.inference.model import Model
from flap_sam.sam.methods import METHOD_TABLE
from flap_sam.sam.network import FlapSam

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
OPSET = 18  # read by every onnxruntime from 1.14 on
TOLERANCE = 1e-4
LARGEST_FILE = 2**31 - 2**24  # of one protobuf message, with room for the graph
CHECKED = (1, 3)  # windows at once


class Encoder(nn.Module):
    """Windows [b, n, S, S], intensities in 0..1, to the embeddings [b n, width, S / 16, S / 16] of their slices."""

    def __init__(self, network: FlapSam) -> None:
        super().__init__()
        self.image_encoder = network.image_encoder

    def forward(self, windows: Tensor) -> Tensor:
        return self.image_encoder(windows.flatten(0, 1))


class Decoder(nn.Module):
    """Embeddings [k, width, S / 16, S / 16] to logits [k, classes + 1, S, S]."""

    def __init__(self, network: FlapSam) -> None:
        super().__init__()
        self.network = network

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.network.decode(embeddings[None])[0]


def write(model: Model, provenance: Mapping[str, str], folder: Path) -> float:
    """Write `encoder.onnx` and `decoder.onnx`, both for any number of windows at once.

    A window has one slice, under MA-SAM, whose slices mix, 5. Other adapters are merged.

    Args:
        folder: a new one.

    Returns:
        The largest difference between onnxruntime's and torch's numbers, see `difference`.

    Raises:
        FlapSamError: a package is missing, the numbers differ by more than `TOLERANCE`, or the folder is there or
            cannot be written.
    """
    require("onnx", "The export to ONNX")
    mixes = METHOD_TABLE[model.experiment.method].mixes_slices
    network = model.network if mixes else merged(model)
    slices, size = WINDOW_SLICES if mixes else 1, model.experiment.pixels
    generator = torch.Generator().manual_seed(model.experiment.seed)
    windows = torch.rand(max(CHECKED), slices, size, size, generator=generator)
    with torch.no_grad(), new_folder(folder) as partial:
        encoder, decoder = Encoder(network), Decoder(network)
        embeddings = encoder(windows)
        _export(encoder, windows, partial / ENCODER, ("windows", "embeddings"), provenance)
        _export(decoder, embeddings, partial / DECODER, ("embeddings", "logits"), provenance)
        found = max(difference(network, partial, windows[:count]) for count in CHECKED)
        if not found <= TOLERANCE:
            raise FlapSamError(
                f"The ONNX files differ from the network by {found:.1e}, expected at most {TOLERANCE:g}; nothing was "
                "written. Try other versions of " + ", ".join(MODULES["onnx"]) + "."
            )
    return found


def difference(network: FlapSam, folder: Path, windows: Tensor) -> float:
    """How far onnxruntime's embeddings and logits of some windows are from torch's.

    The largest absolute difference, divided by the largest number where that is above 1.
    """
    embeddings = network.encode(windows).flatten(0, 1)
    logits = network.decode(embeddings[None])[0]
    found_embeddings = _run(folder / ENCODER, windows.numpy())
    found_logits = _run(folder / DECODER, found_embeddings)
    return max(_apart(found_embeddings, embeddings), _apart(found_logits, logits))


def _apart(found: np.ndarray, expected: Tensor) -> float:
    wanted = expected.numpy()
    return float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))


def _run(path: Path, array: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: array})[0]


def _export(part: nn.Module, example: Tensor, path: Path, names: tuple[str, str], notes: Mapping[str, str]) -> None:
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it warns of every node that it cannot simplify
    program = torch.onnx.export(
        part.eval(),
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=names[:1],
        output_names=names[1:],
        dynamic_shapes=({0: "batch"},),
        verbose=False,
    )
    if program is None:  # as torch's older exporter returns, which `dynamo` does not ask for
        raise ValueError("torch.onnx.export returned no program")
    program.model.metadata_props.update(notes)
    constants = [value.const_value for value in program.model.graph.initializers.values()]
    size = sum(constant.nbytes for constant in constants if constant is not None)
    program.save(path, external_data=size > LARGEST_FILE)
