# SPDX-License-Identifier: Apache-2.0
"""Numbers on the wire: float32, float16 or bfloat16 as they are, int8 as differences with error feedback."""

from collections.abc import Mapping

import torch
from torch import Tensor

from flap_sam.errors import FlapSamError, Reason

Tensors = Mapping[str, Tensor]
WireType = tuple[tuple[int, ...], torch.dtype]

FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
DOWN = {**FLOATS, "int8": torch.float16}
LARGEST_CODE = 127
SCALE = ".scale"


def types_up(shapes: Mapping[str, tuple[int, ...]], payload_dtype: str) -> dict[str, WireType]:
    """Shape and type of what a site sends for tensors of these shapes, by the name on the wire."""
    if payload_dtype in FLOATS:
        return {name: (shape, FLOATS[payload_dtype]) for name, shape in shapes.items()}
    types = {}
    for name, shape in shapes.items():
        types[name] = (shape, torch.int8)
        types[name + SCALE] = (_scale_shape(shape), torch.float32)
    return types


def types_down(shapes: Mapping[str, tuple[int, ...]], payload_dtype: str) -> dict[str, WireType]:
    """The same for what the server sends."""
    return {name: (shape, DOWN[payload_dtype]) for name, shape in shapes.items()}


def down(tensors: Tensors, payload_dtype: str) -> dict[str, Tensor]:
    """What the server sends; int8 jobs send float16 downwards, where no error could be fed back."""
    return {name: _cast(name, tensor, DOWN[payload_dtype]) for name, tensor in tensors.items()}


def up(
    tensors: Tensors, payload_dtype: str, known: Tensors, carry: Tensors
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a site sends, and the error it could not send and carries to its next round.

    In int8 a tensor travels as its difference from what the server knows plus the error carried along, with one
    scale a row: error feedback, Seide et al., Interspeech 2014; Karimireddy et al., arXiv 1901.09847.

    Args:
        known: what the site received for this round, as the server sent it; what is not in it counts as zero.
        carry: from the round before.
    """
    if payload_dtype in FLOATS:
        return {name: _cast(name, tensor, FLOATS[payload_dtype]) for name, tensor in tensors.items()}, {}
    wire, left_over = {}, {}
    for name, tensor in tensors.items():
        meant = tensor - known.get(name, 0) + carry.get(name, 0)
        wire[name], wire[name + SCALE] = _codes(meant)
        left_over[name] = meant - _numbers(wire[name], wire[name + SCALE])
    return wire, left_over


def numbers(wire: Tensors, payload_dtype: str, known: Tensors) -> dict[str, Tensor]:
    """The float32 tensors that `up` sent: the server's end; see there."""
    if payload_dtype in FLOATS:
        return {name: tensor.float() for name, tensor in wire.items()}
    return {
        name: known.get(name, 0) + _numbers(codes, wire[name + SCALE])
        for name, codes in wire.items()
        if codes.dtype == torch.int8
    }


def _cast(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    cast = tensor.to(dtype)
    if not torch.isfinite(cast).all():
        raise FlapSamError(
            f"Tensor {name} reaches {tensor.abs().max():.3g}, which {dtype} cannot hold; set payload_dtype.",
            Reason.RANGE,
        )
    return cast


def _scale_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:1] if len(shape) > 1 else ()


def _codes(meant: Tensor) -> tuple[Tensor, Tensor]:
    rows = meant.flatten(1) if meant.dim() > 1 else meant.reshape(1, -1)
    scale = rows.abs().amax(dim=1) / LARGEST_CODE
    codes = (rows / torch.where(scale > 0, scale, 1.0).unsqueeze(1)).round().to(torch.int8)
    return codes.reshape(meant.shape), scale.reshape(_scale_shape(tuple(meant.shape)))


def _numbers(codes: Tensor, scale: Tensor) -> Tensor:
    return codes.float() * scale.reshape(-1, *[1] * (codes.dim() - 1)) if codes.dim() > 1 else codes.float() * scale
