# SPDX-License-Identifier: Apache-2.0
"""Adapters in the layout of Hugging Face's PEFT, a folder that `peft.PeftModel.from_pretrained` loads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from flap_sam.errors import FlapSamError
from flap_sam.export.effective import adapted, check_slices_apart, factors, plain
from flap_sam.export.provenance import closing
from flap_sam.foundation.own_folder import new_folder
from flap_sam.inference.model import Model
from flap_sam.lowrank.factors import Factors
from flap_sam.sam import checkpoint
from flap_sam.sam.adapters import DoRA
from flap_sam.sam.attention import EncoderAttention

ADAPTER, CONFIG, BASE, CARD = "adapter_model.safetensors", "adapter_config.json", "base.safetensors", "README.md"
PREFIX = "base_model.model."
START = {
    "checkpoint": 'torch.load("sam_vit_b_01ec64.pth", weights_only=True)  # the checkpoint of the sites',
    "bundled": "safetensors.torch.load_file(flap_sam.sam.pretrained.FILE)  # flap-sam's bundled small SAM",
    "random": "{}  # the sites started from random weights",
}


@dataclass(frozen=True)
class PeftLayer:
    """What PEFT adds to one linear layer: W + B A, and under DoRA each row scaled to its magnitude.

    Args:
        A: [r, d_in]; B: [d_out, r].
        magnitude: [d_out] under DoRA, else None.
    """

    A: Tensor
    B: Tensor
    magnitude: Tensor | None

    def tensors(self) -> dict[str, Tensor]:
        """By PEFT's names below the layer's."""
        named = {"lora_A.weight": self.A, "lora_B.weight": self.B}
        return named if self.magnitude is None else {**named, "lora_magnitude_vector": self.magnitude}


def write(model: Model, provenance: Mapping[str, str], folder: Path) -> None:
    """Write the adapters, and beside them what else of the network its weights at the start do not hold.

    A mixture of experts becomes one adapter of all their ranks, its shares in B.

    Args:
        folder: a new one.

    Raises:
        FlapSamError: the experiment has no such adapters, or the folder is there or cannot be written.
    """
    check_slices_apart(model.experiment, "PEFT's LoRA")
    layers = layers_of(model)
    if not layers:
        raise FlapSamError(
            f"The payload's method {model.experiment.method} trains no adapters, so PEFT has nothing to hold; export "
            "it as sam, monai or onnx."
        )
    tensors = {f"{PREFIX}{name}.{own}": t for name, layer in layers.items() for own, t in layer.tensors().items()}
    base = _not_in(checkpoint.read(model.weights.file, model.weights.pin) if model.weights.file else {}, model)
    with new_folder(folder) as partial:
        (partial / ADAPTER).write_bytes(save(tensors, metadata={"format": "pt", **provenance}))
        (partial / BASE).write_bytes(save(base, metadata=dict(provenance)))
        (partial / CONFIG).write_text(json.dumps(_config(layers), indent=2) + "\n")
        (partial / CARD).write_text(_card(model, list(base), provenance))


@torch.no_grad()
def layers_of(model: Model) -> dict[str, PeftLayer]:
    """The adapted linear layers of segment_anything by name: `qkv` whole in the encoder, `q_proj` and `v_proj`."""
    found = {}
    for name, attention in adapted(model.network):
        query, value = (_layer(adapter, weight) for adapter, weight in attention.adapted())
        if isinstance(attention, EncoderAttention):
            found[f"{name}.qkv"] = _fused(query, value, attention.qkv.weight.chunk(3)[1])
        else:
            found |= {f"{name}.q_proj": query, f"{name}.v_proj": value}
    return found


def _layer(adapter: nn.Module, weight: Tensor) -> PeftLayer:
    found = factors(adapter)
    if found.rank > min(weight.shape):
        found = _shortest(found)
    return PeftLayer(
        found.A.float().contiguous(),
        (found.scale * found.B).float().contiguous(),
        adapter.magnitude.clone() if isinstance(adapter, DoRA) else None,
    )


def _shortest(long: Factors) -> Factors:
    """The same change in as many columns as its rank in float32."""
    u, s, vh = torch.linalg.svd(long.change(), full_matrices=False)
    rank = max(1, int((s > s[0] * max(len(u), vh.shape[1]) * torch.finfo(torch.float32).eps).sum()))
    return Factors(vh[:rank], u[:, :rank] * s[:rank])


def _fused(query: PeftLayer, value: PeftLayer, key_weight: Tensor) -> PeftLayer:
    """Both on the fused projection, whose rows are those of query, key and value; the keys' stay as they are."""
    keys = key_weight.new_zeros(len(key_weight), 0)
    magnitude = None
    if query.magnitude is not None and value.magnitude is not None:
        magnitude = torch.cat([query.magnitude, torch.linalg.vector_norm(key_weight, dim=1), value.magnitude])
    return PeftLayer(torch.cat([query.A, value.A]), torch.block_diag(query.B, keys, value.B), magnitude)


def _not_in(sam: Mapping[str, Tensor], model: Model) -> dict[str, Tensor]:
    state = model.network.state_dict()
    return {
        name: state[name].contiguous()
        for name in plain(model.experiment).state_dict()
        if name not in sam or not torch.equal(sam[name].float(), state[name])
    }


def _config(layers: Mapping[str, PeftLayer]) -> dict[str, object]:
    """PEFT's settings; its scale is lora_alpha / r, here 1 in every layer."""
    ranks = {name: len(layer.A) for name, layer in layers.items()}
    first = next(iter(ranks.values()))
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": None,
        "r": first,
        "lora_alpha": first,
        "rank_pattern": ranks,
        "alpha_pattern": ranks,
        "target_modules": list(layers),
        "use_dora": any(layer.magnitude is not None for layer in layers.values()),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }


def _card(model: Model, base: list[str], provenance: Mapping[str, str]) -> str:
    experiment, size = model.experiment, model.experiment.image_size
    return f"""---
library_name: peft
license: apache-2.0
---

# Adapters of SAM ({experiment.backbone}) for {experiment.classes + 1} masks, background first

- `{ADAPTER}`, `{CONFIG}`: what PEFT loads ({experiment.adapter}), for the layers of segment_anything's
  `Sam`. The encoder's `qkv` is one layer: query and value lie in one adapter, the rows of the keys are zero in its B.
- `{BASE}`: {len(base)} tensors that are no adapters and that the weights at the start do not hold as they are: what
  was trained beside the adapters, what SAM has no equal of, and tables resized to {size} pixels. They go into the base
  model before PEFT:

```python
import flap_sam.sam.pretrained, peft, safetensors.torch, torch

state = {START[model.weights.origin]}
state |= safetensors.torch.load_file("{BASE}")
for part in ("image_encoder", "mask_decoder.transformer"):  # the encoder is an ImageEncoderViT with img_size={size}
    own = {{name.removeprefix(part + "."): t for name, t in state.items() if name.startswith(part + ".")}}
    sam.get_submodule(part).load_state_dict(own)
model = peft.PeftModel.from_pretrained(sam, ".")
```

The input is a grey slice in 0..1, the same on three channels, without SAM's normalisation. The decoder's UP
(`mask_decoder.output_upscaling`) doubles four times and is not segment_anything's; see `flap_sam.sam.decoder`.

{closing(provenance)}"""
