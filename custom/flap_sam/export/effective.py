# SPDX-License-Identifier: Apache-2.0
"""What an adapter makes of its projection: W + B A of the same effect, or the one weight that W becomes."""

from collections.abc import Iterator
from functools import singledispatch

import torch
from torch import Tensor, nn

from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError
from flap_sam.inference.model import Model
from flap_sam.lowrank.factors import Factors
from flap_sam.sam.adapters import DoRA, LoRA, MoLE
from flap_sam.sam.attention import AdaptedAttention, EncoderAttention
from flap_sam.sam.build import build
from flap_sam.sam.methods import METHOD_TABLE
from flap_sam.sam.network import FlapSam


@singledispatch
def factors(adapter: nn.Module) -> Factors:
    """The weight change of an adapter, before a DoRA's magnitudes."""
    raise NotImplementedError(type(adapter).__name__)


@factors.register
def _(adapter: LoRA) -> Factors:
    return Factors(adapter.A, adapter.B, adapter.alpha)


@factors.register
def _(adapter: MoLE) -> Factors:
    experts = [factors(expert) for expert in adapter.experts]
    A = torch.cat([expert.A for expert in experts])
    B = [share * expert.B for share, expert in zip(adapter.shares(), experts, strict=True)]
    return Factors(A, torch.cat(B, dim=1), experts[0].scale)


def changed(adapter: nn.Module, weight: Tensor) -> Tensor:
    """What takes the place of W [d_out, d_in] when the adapter is gone."""
    new = weight.double() + factors(adapter).change()
    if isinstance(adapter, DoRA):
        new *= (adapter.magnitude / adapter.row_norms(weight)).double()[:, None]
    return new.float()


def adapted(network: FlapSam) -> Iterator[tuple[str, AdaptedAttention]]:
    """Names and attention layers that hold adapters."""
    for name, module in network.named_modules():
        if isinstance(module, AdaptedAttention) and module.adapted():
            yield name, module


def plain(experiment: Experiment) -> FlapSam:
    """The experiment's network without any adapter, on the meta device."""
    return build(experiment.changed(method="fullft"))


@torch.no_grad()
def merged(model: Model) -> FlapSam:
    """The network of the same function without adapters; other weights are shared with the model's.

    The experiment's slices must not mix, see `check_slices_apart`.
    """
    state = model.network.state_dict()
    for name, attention in adapted(model.network):
        state |= _changed_weights(name, attention)
    network = plain(model.experiment)
    network.load_state_dict({name: state[name] for name in network.state_dict()}, assign=True)
    return network.eval().requires_grad_(False)


def _changed_weights(name: str, attention: AdaptedAttention) -> dict[str, Tensor]:
    q, v = (changed(adapter, weight) for adapter, weight in attention.adapted())
    if isinstance(attention, EncoderAttention):
        return {f"{name}.qkv.weight": torch.cat([q, attention.qkv.weight.chunk(3)[1], v])}
    return {f"{name}.q_proj.weight": q, f"{name}.v_proj.weight": v}


def check_slices_apart(experiment: Experiment, form: str) -> None:
    """Raises a FlapSamError where 3D adapters let slices mix: no change of a weight does what they do."""
    if METHOD_TABLE[experiment.method].mixes_slices:
        raise FlapSamError(
            f"The payload's method {experiment.method} has 3D adapters between SAM's layers, which {form} has no place "
            "for; export it as monai or onnx."
        )
