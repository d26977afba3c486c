# SPDX-License-Identifier: Apache-2.0
"""What people train today, named `segment_anything`: that package's own modules, put together as its users do.

Float32; attention with its position bias materialised, over windows padded with zero tokens; a patch embedding of
three channels; LoRA as two thin layers added to q and v; UP as transposed convolutions; masks passed through SAM's
own post-processing; cross-entropy beside MONAI's Dice; AdamW as it comes, over the tensors that train.
"""

import itertools
import re
from functools import partial

from flap_sam.config.experiment import Experiment
from flap_sam.sam.build import BACKBONES, PATCH
from flap_sam.training.loss import CROSS_ENTROPY_SHARE, DICE_SHARE, SMOOTH
from monai.losses import DiceLoss
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
    image_encoder,
    transformer,
)
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn
from torch.nn import functional as F


class Baseline(nn.Module):
    """The experiment's network for `flap_sam` with LoRA, without prompts.

    Args:
        experiment: with backbone and image size resolved.
        weights: of our network for the same experiment, by name.
    """

    def __init__(self, experiment: Experiment, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.side = experiment.image_size
        self.sam = _sam(experiment)
        for layer in list(self.sam.modules()):
            if isinstance(layer, image_encoder.Attention):
                _add_to_qkv(layer, experiment.rank)
            elif isinstance(layer, transformer.Attention):
                _add_to_projections(layer, experiment.rank)
        self.load_state_dict({self.name_of(name): tensor for name, tensor in weights.items()})

    @staticmethod
    def name_of(name: str) -> str:
        """Our name of a tensor to this network's."""
        ours_to_theirs = {"A": "0.weight", "B": "1.weight"}
        return "sam." + re.sub(r"(?<=adapter_[qv]\.)[AB]$", lambda match: ours_to_theirs[match[0]], name)

    def forward(self, windows: Tensor) -> Tensor:
        """Windows [b, 5, S, S] to logits [b, 5, classes + 1, S, S]."""
        slices = windows.flatten(0, 1).unsqueeze(1).repeat(1, 3, 1, 1)
        sparse, dense = self.sam.prompt_encoder(None, None, None)
        masks, _ = self.sam.mask_decoder.predict_masks(
            self.sam.image_encoder(slices), self.sam.prompt_encoder.get_dense_pe(), sparse, dense
        )
        masks = self.sam.postprocess_masks(masks, (self.side, self.side), (self.side, self.side))
        return masks.unflatten(0, windows.shape[:2])


class BaselineLoss(nn.Module):
    """0.2 cross-entropy + 0.8 Dice of logits [b, 5, classes + 1, S, S] and labels [b, 5, S, S]."""

    def __init__(self) -> None:
        super().__init__()
        settings = {"softmax": True, "to_onehot_y": True, "squared_pred": True, "batch": True}
        self.dice = DiceLoss(**settings, smooth_nr=SMOOTH, smooth_dr=SMOOTH)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits, labels = logits.flatten(0, 1), labels.flatten(0, 1).long()
        dice = self.dice(logits, labels.unsqueeze(1))
        return CROSS_ENTROPY_SHARE * F.cross_entropy(logits, labels) + DICE_SHARE * dice


def _sam(experiment: Experiment) -> Sam:
    backbone, tokens = BACKBONES[experiment.backbone], experiment.image_size // PATCH
    width, masks = backbone.prompt_width, experiment.classes + 1
    encoder = ImageEncoderViT(
        img_size=experiment.image_size,
        embed_dim=backbone.width,
        depth=backbone.depth,
        num_heads=backbone.heads,
        out_chans=width,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=backbone.window,
        global_attn_indexes=backbone.global_attention,
    )
    prompts = PromptEncoder(width, (tokens, tokens), (experiment.image_size, experiment.image_size), 16)
    two_way = TwoWayTransformer(2, width, backbone.decoder_heads, backbone.decoder_mlp)
    decoder = MaskDecoder(
        transformer_dim=width,
        transformer=two_way,
        num_multimask_outputs=experiment.classes,
        iou_head_hidden_dim=width,
    )
    decoder.output_upscaling = nn.Sequential(*_doublings(width))
    decoder.output_hypernetworks_mlps = nn.ModuleList(MLP(width, width, width // 32, 3) for _ in range(masks))
    return Sam(encoder, prompts, decoder, pixel_mean=[0, 0, 0], pixel_std=[1, 1, 1])


def _doublings(width: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((width, width // 4, width // 8, width // 16, width // 32)):
        layers += [nn.ConvTranspose2d(before, after, 2, 2), LayerNorm2d(after), nn.GELU()]
    return [*layers[:-2], layers[-1]]


def _pair(d_in: int, d_out: int, rank: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d_in, rank, bias=False), nn.Linear(rank, d_out, bias=False))


def _add_to_qkv(attention: nn.Module, rank: int) -> None:
    width = attention.proj.in_features
    attention.adapter_q, attention.adapter_v = (_pair(width, width, rank) for _ in range(2))

    def add(_: nn.Module, inputs: tuple[Tensor], qkv: Tensor) -> Tensor:
        qkv[..., :width] += attention.adapter_q(inputs[0])
        qkv[..., -width:] += attention.adapter_v(inputs[0])
        return qkv

    attention.qkv.register_forward_hook(add)


def _add_to_projections(attention: nn.Module, rank: int) -> None:
    attention.adapter_q, attention.adapter_v = (
        _pair(attention.embedding_dim, attention.internal_dim, rank) for _ in range(2)
    )
    attention.q_proj.register_forward_hook(lambda _, inputs, y: y + attention.adapter_q(inputs[0]))
    attention.v_proj.register_forward_hook(lambda _, inputs, y: y + attention.adapter_v(inputs[0]))
