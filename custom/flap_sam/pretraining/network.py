# SPDX-License-Identifier: Apache-2.0
"""The small SAM as a promptable network: SAM's own prompt encoder and mask decoder on our image encoder."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor, nn
from torch.nn import functional as F

from flap_sam.config.experiment import Experiment
from flap_sam.pretraining.prompts import Prompts
from flap_sam.sam.build import BACKBONES, PATCH, build
from flap_sam.sam.decoder import two_way_transformer
from flap_sam.sam.initial import initial
from flap_sam.sam.pretrained import BACKBONE

MASK_CHANNELS = 16
SHRINK = 4  # of the answers, a side


class PromptableSam(nn.Module):
    """Its parts carry segment_anything's names: its state is a SAM checkpoint.

    Args:
        seed: of the weights that it starts from.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        sizes = BACKBONES[BACKBONE]
        tokens = sizes.image_size // PATCH
        self.side = sizes.image_size
        self.image_encoder = build(Experiment(backbone=BACKBONE, method="fullft")).image_encoder
        with torch.device("meta"):
            self.prompt_encoder = PromptEncoder(
                sizes.prompt_width, (tokens, tokens), (self.side, self.side), MASK_CHANNELS
            )
            transformer = two_way_transformer(sizes.prompt_width, sizes.decoder_heads, sizes.decoder_mlp)
            self.mask_decoder = MaskDecoder(
                transformer_dim=sizes.prompt_width, transformer=transformer, iou_head_hidden_dim=sizes.prompt_width
            )
        self.load_state_dict({name: initial(self, name, seed) for name in self.state_dict()}, assign=True)

    @classmethod
    def load(cls, path: Path) -> "PromptableSam":
        """The network of a checkpoint that `pretrain` wrote."""
        network = cls(seed=0)
        network.load_state_dict(load_file(path))
        return network

    def forward(self, embeddings: Tensor, prompts: Prompts, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Masks that answer prompts.

        Args:
            embeddings: [n, width, S / 16, S / 16], of the image that each prompt is on.
            before: logits [n, S / 4, S / 4] of an earlier answer, which the prompts correct; None for none.

        Returns:
            Logits [n, 4, S / 4, S / 4], the first the answer to several prompts, the others the three answers to a
            single point; and what the network takes for their overlap with the truth, [n, 4].
        """
        points = (prompts.points, prompts.labels) if prompts.points.shape[1] else None
        masks = None if before is None else before[:, None]
        sparse, dense = self.prompt_encoder(points, prompts.boxes, masks)
        nothing = torch.zeros_like(embeddings[:1])  # SAM's decoder takes one image; here each prompt brings its own
        return self.mask_decoder.predict_masks(nothing, self.prompt_encoder.get_dense_pe(), sparse, dense + embeddings)


def enlarged(logits: Tensor) -> Tensor:
    """Answers [n, S / 4, S / 4] at the image's own resolution, [n, S, S]."""
    return F.interpolate(logits[:, None], scale_factor=SHRINK, mode="bilinear")[:, 0]
