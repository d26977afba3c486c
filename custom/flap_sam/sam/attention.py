# SPDX-License-Identifier: Apache-2.0
"""SAM's two attention layers, which take adapters on query and value and use torch's fused attention."""

import torch
from segment_anything.modeling import image_encoder, transformer
from torch import Tensor, nn
from torch.nn import functional as F

from flap_sam.sam.remade import Operands, on_remade

ALIGNED = {"cuda": 8}  # fused attention copies operands whose width is no multiple of this, by the kind of device


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

    def adapted_weights(self) -> tuple[Tensor, Tensor]:
        """W [d_out, d_in] of the query and of the value projection; no copies."""
        raise NotImplementedError

    def adapted(self) -> list[tuple[nn.Module, Tensor]]:
        """The query's and the value's adapter, each with the W that it adapts; nothing where there are none."""
        if self.adapter_q is None or self.adapter_v is None:
            return []
        return list(zip((self.adapter_q, self.adapter_v), self.adapted_weights(), strict=True))


class EncoderAttention(image_encoder.Attention, AdaptedAttention):
    """Multi-head attention with decomposed relative positions and one fused `qkv`, in windows or over the image.

    The score of a query and a key is s q.k + q.R_h + q.R_w, R by their distance along height and width (SAM;
    Li et al., MViTv2, arXiv 2112.01526, equation 4). It is the plain product, scaled by s, of q' = [q, q.R_h / s,
    q.R_w / s] over all heights and widths with k' = [k, one-hot height, one-hot width]: no bias for every pair.

    SAM pads an image to whole windows with zero tokens, whose key and value are the projections' biases, as no
    adapter changes zero. Here only the keys and values of those tokens are filled in, and nothing is projected.
    For the backward pass q, k, v and the fused attention's results are kept; q', k' and v' are made again.

    Args:
        input_size: rows and columns of tokens that attend to each other.
        windowed: the image is cut into windows of `input_size`; else it is of `input_size`.

    Attributes:
        remakes: q', k' and v' are made again; off where the whole block is computed again anyway.
    """

    parameter_groups = dict.fromkeys(("qkv", "proj", "rel_pos_h", "rel_pos_w"), "encoder_attention")

    def __init__(self, dim: int, num_heads: int, input_size: tuple[int, int], windowed: bool = False) -> None:
        super().__init__(dim, num_heads, use_rel_pos=True, input_size=input_size)
        self.input_size = input_size
        self.windowed = windowed
        self.remakes = True
        self.attach(None, None)

    def widths(self) -> tuple[int, int]:
        return self.qkv.in_features, self.qkv.in_features

    def adapted_weights(self) -> tuple[Tensor, Tensor]:
        weight_q, _, weight_v = self.qkv.weight.chunk(3)
        return weight_q, weight_v

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [b, h, w, d] of an image, normalised, to the same."""
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)) for t in self._projections(x))
        if not self.windowed:
            return self.proj(self._attend(q, k, v, *self.input_size))
        rows = []
        for top, bottom, height in _bands(x.shape[1], self.input_size[0]):
            row = []
            for left, right, width in _bands(x.shape[2], self.input_size[1]):
                own = slice(None), slice(top, bottom), slice(left, right)
                row.append(self._attend(q[own], k[own], v[own], height, width))
            rows.append(_joined(row, 2))
        return self.proj(_joined(rows, 1))

    def _projections(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.adapter_q is not None and self.adapter_v is not None:
            weight_q, weight_v = self.adapted_weights()
            bias_q, _, bias_v = self.qkv.bias.chunk(3)
            q = self.adapter_q(x, q, weight_q, bias_q)
            v = self.adapter_v(x, v, weight_v, bias_v)
            if self.remakes:
                k = k.contiguous()  # a part would keep all of the plain projections
        return q, k, v

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, height: int, width: int) -> Tensor:
        """Attention within windows that hold height x width tokens each: [b, h, w, heads, c] to [b, h, w, d]."""
        b, h, w, heads, c = q.shape
        tables = self._distances(self.rel_pos_h)[:height], self._distances(self.rel_pos_w)[:width]
        windows = [_windows(t, height, width) for t in (q, k, v)]
        own = *windows, *tables, self._places(height, width, k), self.qkv.bias
        if self.remakes and torch.is_grad_enabled():
            out = on_remade(self._fused, self._folded, *own)
        else:
            out = self._fused(*self._folded(*own))
        out = out[..., :c].view(b, h // height, w // width, heads, height, width, c)
        return out.permute(0, 1, 4, 2, 5, 3, 6).reshape(b, h, w, heads * c)

    def _fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, scale=self.scale)

    def _folded(
        self, q: Tensor, k: Tensor, v: Tensor, table_h: Tensor, table_w: Tensor, places: Tensor, bias: Tensor
    ) -> Operands:
        """q', k' and v', which is v and zeros: [..., heads, h, w, c] to [windows, heads, h w, more].

        Where the device wants an aligned width, all three end in columns of zeros, which change no score.
        """
        along_h = torch.einsum("...hwc,hck->...hwk", q, table_h)
        along_w = torch.einsum("...hwc,wck->...hwk", q, table_w)
        q = torch.cat([q, along_h, along_w], dim=-1).flatten(-3, -2)
        _, bias_k, bias_v = bias.chunk(3)
        k, v = self._filled(k.flatten(-3, -2), bias_k), self._filled(v.flatten(-3, -2), bias_v)
        k = torch.cat([k, places.expand(*k.shape[:-1], -1)], dim=-1)
        v = torch.cat([v, places.new_zeros(()).expand(*v.shape[:-1], places.shape[-1])], dim=-1)
        lacking = -q.shape[-1] % ALIGNED.get(q.device.type, 1)
        q, k, v = (F.pad(t, (0, lacking)) if lacking else t for t in (q, k, v))
        return q.flatten(0, 2), k.flatten(0, 2), v.flatten(0, 2)

    def _distances(self, table: Tensor) -> Tensor:
        """R / s of queries and keys along one axis, out of SAM's table [2 n - 1, c] by distance: [n, c, n]."""
        return (table / self.scale).unfold(0, (len(table) + 1) // 2, 1).flip(-1)

    def _filled(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Keys or values [..., heads, n, c] of windows, and the bias [d] for each token that they lack."""
        lacking = self.input_size[0] * self.input_size[1] - tokens.shape[-2]
        if not lacking:
            return tokens
        filling = bias.view(self.num_heads, 1, -1).to(tokens.dtype)
        return torch.cat([tokens, filling.expand(*tokens.shape[:-2], lacking, -1)], dim=-2)

    def _places(self, height: int, width: int, like: Tensor) -> Tensor:
        """One-hot row and column of a window's tokens, those first that it has: [tokens, rows + columns]."""
        rows, columns = (torch.eye(n, dtype=like.dtype, device=like.device) for n in self.input_size)
        grid = torch.cat([t.expand(len(rows), len(columns), -1) for t in (rows[:, None], columns)], dim=-1)
        parts = grid[:height, :width], grid[:height, width:], grid[height:]
        return torch.cat([part.flatten(0, 1) for part in parts])


class DecoderAttention(transformer.Attention, AdaptedAttention):
    """Attention of the two-way transformer, between prompt tokens and image tokens."""

    parameter_groups = dict.fromkeys(("q_proj", "k_proj", "v_proj", "out_proj"), "decoder_attention")

    def __init__(self, embedding_dim: int, num_heads: int, downsample_rate: int = 1) -> None:
        super().__init__(embedding_dim, num_heads, downsample_rate)
        self.attach(None, None)

    def widths(self) -> tuple[int, int]:
        return self.q_proj.in_features, self.q_proj.out_features

    def adapted_weights(self) -> tuple[Tensor, Tensor]:
        return self.q_proj.weight, self.v_proj.weight

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries [b, n, d], keys and values [b, m, d] to [b, n, d]."""
        x_q, x_v = q, v
        q, k, v = self.q_proj(x_q), self.k_proj(k), self.v_proj(x_v)
        if self.adapter_q is not None and self.adapter_v is not None:
            q = self.adapter_q(x_q, q, self.q_proj.weight, self.q_proj.bias)
            v = self.adapter_v(x_v, v, self.v_proj.weight, self.v_proj.bias)
        q, k, v = (self._separate_heads(t, self.num_heads) for t in (q, k, v))
        return self.out_proj(self._recombine_heads(F.scaled_dot_product_attention(q, k, v)))


def _bands(length: int, window: int) -> list[tuple[int, int, int]]:
    """Start, end and tokens a window of the whole windows along an axis, and of the one that is cut off."""
    whole = length // window * window
    bands = [(0, whole, window), (whole, length, length - whole)]
    return [band for band in bands if band[0] < band[1]]


def _windows(tokens: Tensor, height: int, width: int) -> Tensor:
    """[b, h, w, heads, c] to [b, rows of windows, columns of windows, heads, height, width, c]."""
    b, h, w, heads, c = tokens.shape
    return tokens.reshape(b, h // height, height, w // width, width, heads, c).permute(0, 1, 3, 5, 2, 4, 6)


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)
