# SPDX-License-Identifier: Apache-2.0
"""SAM with the adapters folded into its weights, under segment_anything's names."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save

from flap_sam.errors import FlapSamError
from flap_sam.export.effective import check_slices_apart, merged
from flap_sam.foundation.files import replacing
from flap_sam.inference.model import Model

FORMAT = "flap-sam merged 1"


def write(model: Model, provenance: Mapping[str, str], path: Path) -> None:
    """Write the merged network, float32: W + alpha B A in the place of W.

    segment_anything's `ImageEncoderViT` of the experiment's image size takes all of `image_encoder.`, its
    `TwoWayTransformer` all of `mask_decoder.transformer.`. UP and HYP are the decoder's own (`sam.decoder`).

    Args:
        path: ends in `.safetensors`, which holds `provenance` as metadata, or in `.pth`, which has no room for it.

    Raises:
        FlapSamError: another ending; a file that is there; slices that mix; a file that cannot be written.
    """
    if path.suffix not in (".safetensors", ".pth"):
        raise FlapSamError(f"{path} ends in neither .safetensors nor .pth; let it end in one of them.")
    if path.exists():
        raise FlapSamError(f"{path} is there already; choose another file, or move it away.")
    check_slices_apart(model.experiment, "a SAM checkpoint")
    tensors = {name: tensor.contiguous() for name, tensor in merged(model).state_dict().items()}
    with replacing(path) as stream:
        if path.suffix == ".pth":
            torch.save(tensors, stream)
        else:
            stream.write(save(tensors, metadata={"format": FORMAT, **provenance}))
