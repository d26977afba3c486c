"""SAM's two attention layers, with room for adapters on query and value, over torch's fused attention."""

import torch
from segment_anything.modeling import image_encoder, transformer
from segment_anything.modeling.image_encoder import get_rel_pos
from torch import Tensor, nn
from torch.nn import functional as F


class AdaptedAttention(nn.Module):
    """What both layers share: adapters on the query and the value projection, none by default."""

    adapter_q: nn.Module | None
    adapter_v: nn.Module | None
    gate: nn.Module | None

    def attach(self, query: nn.Module | None, value: nn.Module | None, gate: nn.Module | None = None) -> None:
        """Put adapters (see `adapters`) on the projections; a MoLE pair brings the gate they share."""
        self.adapter_q, self.adapter_v, self.gate = query, value, gate

    def widths(self) -> tuple[int, int]:
        """Input and output width of the query projection, which are the value projection's too."""
        raise NotImplementedError


class EncoderAttention(image_encoder.Attention, AdaptedAttention):
    """Multi-head attention over an image's tokens with decomposed relative positions and one fused `qkv`."""

    rooms = dict.fromkeys(("qkv", "proj", "rel_pos_h", "rel_pos_w"), "encoder_attention")

    def __init__(self, dim: int, num_heads: int, input_size: tuple[int, int]) -> None:
        super().__init__(dim, num_heads, use_rel_pos=True, input_size=input_size)
        self.attach(None, None)

    def widths(self) -> tuple[int, int]:
        return self.qkv.in_features, self.qkv.in_features

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [b, h, w, d] to the same."""
        b, h, w, d = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.adapter_q is not None:
            weight_q, _, weight_v = self.qkv.weight.chunk(3)
            bias_q, _, bias_v = self.qkv.bias.chunk(3)
            q = self.adapter_q(x, q, weight_q, bias_q)
            v = self.adapter_v(x, v, weight_v, bias_v)
        q, k, v = (t.reshape(b, h * w, self.num_heads, -1).transpose(1, 2) for t in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self._position_bias(q, h, w))
        return self.proj(out.transpose(1, 2).reshape(b, h, w, d))

    def _position_bias(self, q: Tensor, h: int, w: int) -> Tensor:
        """q . (R_h + R_w) for every pair of tokens: [b, heads, h w, h w] (SAM; Li et al., MViTv2, equation 4)."""
        q = q.unflatten(2, (h, w))
        along_h = torch.einsum("bnhwc,hkc->bnhwk", q, get_rel_pos(h, h, self.rel_pos_h))
        along_w = torch.einsum("bnhwc,wkc->bnhwk", q, get_rel_pos(w, w, self.rel_pos_w))
        return (along_h.unsqueeze(-1) + along_w.unsqueeze(-2)).flatten(4).flatten(2, 3)


class DecoderAttention(transformer.Attention, AdaptedAttention):
    """Attention of the two-way transformer, between prompt tokens and image tokens."""

    rooms = dict.fromkeys(("q_proj", "k_proj", "v_proj", "out_proj"), "decoder_attention")

    def __init__(self, embedding_dim: int, num_heads: int, downsample_rate: int = 1) -> None:
        super().__init__(embedding_dim, num_heads, downsample_rate)
        self.attach(None, None)

    def widths(self) -> tuple[int, int]:
        return self.q_proj.in_features, self.q_proj.out_features

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries [b, n, d], keys and values [b, m, d] to [b, n, d]."""
        x_q, x_v = q, v
        q, k, v = self.q_proj(x_q), self.k_proj(k), self.v_proj(x_v)
        if self.adapter_q is not None:
            q = self.adapter_q(x_q, q, self.q_proj.weight, self.q_proj.bias)
            v = self.adapter_v(x_v, v, self.v_proj.weight, self.v_proj.bias)
        q, k, v = (self._separate_heads(t, self.num_heads) for t in (q, k, v))
        return self.out_proj(self._recombine_heads(F.scaled_dot_product_attention(q, k, v)))
