"""The same network as people run it, for benchmarks: segment_anything's own modules, LoRA beside the projections.

Attention with its position bias materialised, a patch embedding of three channels, transposed convolutions.
"""

import itertools
from functools import partial

import torch
from flap_sam.experiment import Experiment
from flap_sam.sam.build import BACKBONES, PATCH, Backbone
from flap_sam.sam.network import FlapSam
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn
from torch.nn import functional as F


class LowRank(nn.Module):
    """A projection plus B (A x) on some of its outputs."""

    def __init__(self, projection: nn.Linear, adapters: dict[int, nn.Module]) -> None:
        super().__init__()
        self.projection, self.adapters = projection, {first: (a.A, a.B) for first, a in adapters.items()}

    def forward(self, x: Tensor) -> Tensor:
        y = self.projection(x)
        for first, (A, B) in self.adapters.items():
            y[..., first : first + len(B)] += F.linear(F.linear(x, A), B)
        return y


class PlainSam(nn.Module):
    """A network of the method `flap_sam`, LoRA of alpha 1, with the weights of ours; windows in, logits out."""

    def __init__(self, ours: FlapSam, experiment: Experiment) -> None:
        super().__init__()
        sizes = BACKBONES[experiment.backbone]
        self.image_encoder = _encoder(sizes, experiment.image_size)
        self.mask_decoder = _decoder(sizes, experiment.classes)
        _load(self.image_encoder, ours.image_encoder)
        _load(self.mask_decoder, ours.mask_decoder)
        for plain, adapted in zip(self.image_encoder.blocks, ours.image_encoder.blocks, strict=True):
            adapters = {0: adapted.attn.adapter_q, 2 * sizes.width: adapted.attn.adapter_v}
            plain.attn.qkv = LowRank(plain.attn.qkv, adapters)
        for name, adapted in ours.mask_decoder.named_modules():
            if hasattr(adapted, "adapter_q"):
                plain = self.mask_decoder.get_submodule(name)
                plain.q_proj = LowRank(plain.q_proj, {0: adapted.adapter_q})
                plain.v_proj = LowRank(plain.v_proj, {0: adapted.adapter_v})
        with torch.no_grad():
            self.sparse, self.dense = ours.prompt_encoder()
            self.positions = ours.prompt_encoder.get_dense_pe()

    def forward(self, windows: Tensor) -> Tensor:
        """Logits [b, 5, classes + 1, S, S] of windows [b, 5, S, S]."""
        embeddings = self.image_encoder(windows.flatten(0, 1)[:, None].repeat(1, 3, 1, 1))
        logits, _ = self.mask_decoder.predict_masks(embeddings, self.positions, self.sparse, self.dense)
        return logits.unflatten(0, windows.shape[:2])


def _encoder(sizes: Backbone, image_size: int) -> ImageEncoderViT:
    return ImageEncoderViT(
        img_size=image_size,
        patch_size=PATCH,
        embed_dim=sizes.width,
        depth=sizes.depth,
        num_heads=sizes.heads,
        out_chans=sizes.prompt_width,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=sizes.window,
        global_attn_indexes=sizes.global_attention,
    )


def _decoder(sizes: Backbone, classes: int) -> MaskDecoder:
    width = sizes.prompt_width
    transformer = TwoWayTransformer(2, width, sizes.decoder_heads, sizes.decoder_mlp)
    decoder = MaskDecoder(
        transformer_dim=width, transformer=transformer, num_multimask_outputs=classes, iou_head_hidden_dim=width
    )
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(width // share for share in (1, 4, 8, 16, 32)):
        layers += [nn.ConvTranspose2d(before, after, 2, 2), LayerNorm2d(after), nn.GELU()]
    del layers[-2]
    decoder.output_upscaling = nn.Sequential(*layers)
    decoder.output_hypernetworks_mlps = nn.ModuleList(MLP(width, width, width // 32, 3) for _ in range(classes + 1))
    return decoder


def _load(plain: nn.Module, ours: nn.Module) -> None:
    state = ours.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
