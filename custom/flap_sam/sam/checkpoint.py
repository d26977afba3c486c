# SPDX-License-Identifier: Apache-2.0
"""SAM's weights from a file: mapped, not read; checked whole; resized where the image size asks for it."""

import hashlib
import os
import pickle
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError, Reason
from flap_sam.sam.adapters import DoRA, low_rank_pairs
from flap_sam.sam.attention import AdaptedAttention, EncoderAttention
from flap_sam.sam.build import BACKBONES, build
from flap_sam.sam.initial import initial
from flap_sam.sam.methods import ADAPTER_GROUPS, UNUSED, groups_of_parameters, parameter_table
from flap_sam.sam.network import FlapSam
from flap_sam.sam.pin import pinned

WIDTH_TENSOR = "image_encoder.patch_embed.proj.bias"
NEVER_LOADED = frozenset({"mask_tokens", "hyp", "decoder_unused"})
MAY_BE_ABSENT = NEVER_LOADED | ADAPTER_GROUPS | {"up"}


@dataclass
class LoadReport:
    """What became of every tensor: names, each in one list."""

    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    started_anew: list[str] = field(default_factory=list)


def network_for(
    experiment: Experiment, path: Path | None, pin: str | None = None
) -> tuple[FlapSam, Experiment, LoadReport]:
    """The experiment's network with its starting weights, and the experiment with backbone and image size resolved.

    Args:
        experiment: "auto" becomes the checkpoint's backbone, or `vit_tiny` where `path` is None.
        path: a SAM checkpoint, `.pth` or `.safetensors`; None starts everything from the experiment's seed
            (`sam.weights` says which it is).
        pin: SHA-256 that the file must have (see `sam.pin`); None takes any file, mapped where it lies.

    Raises:
        FlapSamError: the file is missing, truncated, holds executable pickle content, has another hash, or is not
            SAM's, or is another backbone than the experiment names; or there is a pin and no file.
    """
    if path is None and pin is not None:
        raise FlapSamError(
            "The site pins its checkpoint's sha256 and asks for random weights; take out one of the two.",
            Reason.CHECKPOINT,
        )
    state = read(path, pin) if path is not None else {}
    backbone = _backbone(experiment.backbone, identify(state, path) if path is not None else None, path)
    experiment = experiment.resolved(backbone, BACKBONES[backbone].image_size)
    network = build(experiment)
    return network, experiment, fill(network, state, experiment.seed)


def read(path: Path, pin: str | None = None) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, by name, mapped into memory; nothing in the file is executed.

    Args:
        pin: SHA-256 that the file must have. Without one the tensors are mapped from the file itself, and a process
            that writes into it changes them.
    """
    if not path.is_file():
        raise _refused(path, "there is no such file")
    if not os.access(path, os.R_OK):
        raise _refused(path, "this user may not read it")
    if pin is None:
        state = _load(path, path)
    else:
        with pinned(path, pin) as copy:
            state = _load(path, copy)
    if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
        raise _refused(path, "it holds something other than named tensors")
    return dict(state)


def identify(state: Mapping[str, Tensor], path: Path) -> str:
    """Name of the backbone whose weights these are, by width and depth of the image encoder."""
    if WIDTH_TENSOR not in state:
        raise _refused(path, f"tensor {WIDTH_TENSOR} is missing, so it is not SAM's")
    width = state[WIDTH_TENSOR].numel()
    depth = sum(1 for name in state if name.startswith("image_encoder.") and name.endswith(".attn.qkv.weight"))
    for name, backbone in BACKBONES.items():
        if (backbone.width, backbone.depth) == (width, depth):
            return name
    raise _refused(path, f"its image encoder has width {width} and depth {depth}, which no SAM backbone has")


def fill(network: FlapSam, state: Mapping[str, Tensor], seed: int) -> LoadReport:
    """Give a network on the meta device its weights: from `state` where it holds them, else from the seed.

    SAM's prediction heads (mask tokens, hypernetworks, IoU head) always start anew, the rest of UP where
    name or shape differ. An empty `state` starts everything from the seed.

    Raises:
        FlapSamError: a tensor that must come from the checkpoint is missing or has another shape.
    """
    report = LoadReport()
    groups = dict(groups_of_parameters(network))
    positions = _resizable(network)
    filled = {}
    for name, expected in network.state_dict().items():
        group, found = groups.get(name), state.get(name)
        if found is not None and name in positions and found.shape != expected.shape:
            filled[name] = _resize(name, found, expected.shape)
            report.resized.append(name)
        elif found is not None and found.shape == expected.shape and group not in NEVER_LOADED:
            filled[name] = found.to(torch.float32)
            report.loaded.append(name)
        elif not state or group in MAY_BE_ABSENT:
            filled[name] = initial(network, name, seed)
            report.started_anew.append(name)
        else:
            size = "missing" if found is None else f"of shape {list(found.shape)}"
            raise FlapSamError(
                f"The checkpoint's tensor {name} is {size}; expected {list(expected.shape)}, as SAM has it.",
                Reason.CHECKPOINT,
            )
    network.load_state_dict(filled, assign=True)
    _start_magnitudes(network)
    return report


def start_digest(network: FlapSam, experiment: Experiment) -> str:
    """What a network starts from: SHA-256 over the resolved experiment and every tensor but the adapters' A and B.

    These come from the experiment's seed, and a site's rank may be its own. The number of rounds is left out: a run
    may go on to more of them.
    """
    return digest_of(network, experiment.digest_but_rounds(), without=_drawn(network))


def start_digest_with_rounds(network: FlapSam, experiment: Experiment) -> str:
    """The same over the number of rounds too, as payloads of earlier versions note it."""
    return digest_of(network, experiment.digest(), without=_drawn(network))


def frozen_digest(network: FlapSam, experiment: Experiment) -> str:
    """What a payload is trained on: SHA-256 over the tensors that never change in a run and that a step reads.

    Experiments that differ in how they train have the same, where they freeze the same weights.
    """
    stated = parameter_table(network, experiment.method)
    return digest_of(network, without={t.name for t in stated if t.trained or t.sent or t.group in UNUSED})


def _drawn(network: FlapSam) -> set[str]:
    return {name for pair in low_rank_pairs(network) for name in pair}


def digest_of(network: nn.Module, *settings: str, without: Collection[str] = ()) -> str:
    """SHA-256 over some settings and the tensors of a network as it stands: names, shapes and values."""
    digest = hashlib.sha256("\n".join(settings).encode())
    for name, tensor in sorted(network.state_dict().items()):
        if name in without:
            continue
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()


def _load(path: Path, source: Path) -> object:
    """What a checkpoint file holds, from the file itself or from a copy of it."""
    try:
        if path.suffix == ".safetensors":
            return load_file(source)
        if zipfile.is_zipfile(source):
            return torch.load(source, mmap=True, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise _refused(path, "it holds objects other than tensors, which could run code on loading") from error
    except (RuntimeError, OSError, ValueError, EOFError, safetensors.SafetensorError) as error:
        raise _refused(path, "it is damaged or was cut off on the way; download it again") from error
    raise _refused(path, "it is not a PyTorch file, or it was cut off on the way; download it again")


def _backbone(wanted: str, found: str | None, path: Path | None) -> str:
    if found is None:
        return "vit_tiny" if wanted == "auto" else wanted
    if wanted not in ("auto", found):
        raise FlapSamError(
            f"Checkpoint {path} holds {found}; the experiment wants {wanted}. Point to that one.",
            Reason.BACKBONE,
        )
    return found


def _refused(path: Path, cause: str) -> FlapSamError:
    return FlapSamError(f"Checkpoint {path} cannot be used: {cause}.", Reason.CHECKPOINT)


def _resizable(network: FlapSam) -> set[str]:
    """Position tables whose size follows the image: `pos_embed` and the global layers' relative positions."""
    names = {"image_encoder.pos_embed"}
    for path, module in network.named_modules():
        if isinstance(module, EncoderAttention) and not module.windowed:
            names |= {f"{path}.{table}" for table in ("rel_pos_h", "rel_pos_w")}
    return names


def _resize(name: str, found: Tensor, shape: torch.Size) -> Tensor:
    """Bilinear along every axis whose size differs, the last one, the features, excepted."""
    if found.dim() != len(shape) or found.shape[-1] != shape[-1]:
        raise FlapSamError(
            f"The checkpoint's tensor {name} is of shape {list(found.shape)}; it cannot become {list(shape)}.",
            Reason.CHECKPOINT,
        )
    resized = found.double()
    for axis, size in enumerate(shape[:-1]):
        resized = _resize_axis(resized, axis, size)
    return resized.float()


def _resize_axis(x: Tensor, axis: int, size: int) -> Tensor:
    """Linear between pixel centres, from plain products and sums in float64: every machine gets the same bits."""
    length = x.shape[axis]
    places = ((torch.arange(size, dtype=torch.float64) + 0.5) * (length / size) - 0.5).clamp(0, length - 1)
    low = places.floor().long()
    share = (places - low).reshape(-1, *[1] * (x.dim() - axis - 1))
    high = (low + 1).clamp(max=length - 1)
    return x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share


def _start_magnitudes(network: FlapSam) -> None:
    """DoRA's magnitudes start at the norms of the weights beside them."""
    for attention in network.modules():
        if isinstance(attention, AdaptedAttention):
            for adapter, weight in attention.adapted():
                if isinstance(adapter, DoRA):
                    adapter.magnitude.data.copy_(adapter.row_norms(weight))
