"""SAM 2's memory as steps: memory attention (the paper's F_mem) and the memory encoder.

Without "conditioning" frames: every frame attends to the maps and object pointers of those before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samwise.running.device import for_matmul

if TYPE_CHECKING:
    from sam2.modeling.sam.transformer import RoPEAttention
    from sam2.modeling.sam2_base import SAM2Base


class Sam2Memory(nn.Module):
    """The memory half of ``samwise.encoders.sam2_backbone.Sam2Backbone``.

    Attributes:
        sam2: sam2's own network.
    """

    sam2: SAM2Base
    rotary_table: Tensor  # HW, D/2, 2
    top_position: Tensor  # 1, HW, C: sines of the places of the top features
    map_position: Tensor  # 1, HW, Cm: the same for the memory's maps

    def keep_positions(self, side: int) -> None:
        """Turns what sam2 keeps outside its state into buffers, which move with the network.

        Args:
            side: S/16, of the top features and of the memory's maps.
        """
        sam2 = self.sam2
        angles = torch.view_as_real(sam2.memory_attention.layers[0].self_attn.freqs_cis)
        self.register_buffer("rotary_table", angles.clone(), persistent=False)
        for name, encoding, width in (
            ("top_position", sam2.image_encoder.neck.position_encoding, sam2.hidden_dim),
            ("map_position", sam2.memory_encoder.position_encoding, sam2.mem_dim),
        ):
            grid = encoding(angles.new_zeros(1, width, side, side))  # 1, C, H, W
            self.register_buffer(name, grid.flatten(2).transpose(1, 2).contiguous(), persistent=False)
            encoding.cache.clear()

    def without_memory(self, top: Tensor) -> Tensor:
        """Features of a frame that has no past: (B, C, H, W) plus SAM 2's no-memory embedding."""
        return top + self.sam2.no_mem_embed.reshape(1, -1, 1, 1)

    def with_memory(
        self,
        top: Tensor,
        maps: Tensor,
        pointers: Tensor,
        absent: Tensor | None = None,
        anchors: int = 0,
        distances: Tensor | None = None,
    ) -> Tensor:
        """Memory attention: conditions the features on the past (the paper's F_mem).

        Args:
            top: (B, C, H, W) adapted features of the frame.
            maps: Memory features (B, M, Cm, H, W) of the previous frames, oldest first, then of the anchors.
            pointers: Object pointers (B, P, C) of the previous frames, nearest first, then of the anchors.
            absent: (M + P,) or (B, M + P) bool, true on maps and pointers that only fill the shape; None
                where none does.
            anchors: How many of the maps and pointers are anchors: SAM 2's conditioning frames.
            distances: (B, A) float, how many frames ago the last A pointers were, negative for frames that
                are still to come; with ``absent``. None where their places say it.

        Returns:
            (B, C, H, W).
        """
        attention, size = self.sam2.memory_attention, top.shape[-2:]
        position = self.top_position.to(top.dtype)  # 1, HW, C
        if distances is not None and absent is not None and self.sam2.only_obj_ptrs_in_the_past_for_eval:
            absent = absent.clone()
            absent[:, absent.shape[1] - distances.shape[1] :] |= distances < 0
        memory, memory_position = self._memory_tokens(maps, pointers, anchors, distances)
        placed = for_matmul(memory + memory_position)  # B, K, Cm
        memory = for_matmul(memory)
        on_maps = maps.shape[1] * size[0] * size[1]
        mask = None if absent is None else self._attended(absent, maps.shape[1])
        table = self.rotary_table
        x = top.flatten(2).transpose(1, 2)  # B, HW, C
        if attention.pos_enc_at_input:
            x = x + 0.1 * position
        for layer in attention.layers:
            y = for_matmul(layer.norm1(x))
            q = y + position if layer.pos_enc_at_attn else y
            x = x + layer.dropout1(_rotary_attention(layer.self_attn, q, q, y, table, y.shape[1]))
            y = layer.norm2(x)
            q = y + position if layer.pos_enc_at_cross_attn_queries else y
            k = placed if layer.pos_enc_at_cross_attn_keys else memory
            y = _rotary_attention(layer.cross_attn_image, q, k, memory, table, on_maps, mask)
            x = x + layer.dropout2(y)
            y = layer.linear2(layer.dropout(layer.activation(layer.linear1(layer.norm3(x)))))
            x = x + layer.dropout3(y)
        return attention.norm(x).transpose(1, 2).unflatten(2, size)

    def _attended(self, absent: Tensor, maps: int) -> Tensor:
        """(M + P,) or (B, M + P) -> (1 or B, 1, 1, K) bool, true on the tokens of what is there."""
        sizes = self.map_position.shape[1], self.sam2.hidden_dim // self.sam2.mem_dim
        parts = (~absent).split([maps, absent.shape[-1] - maps], -1)
        tokens = [x[..., None].expand(*x.shape, n).flatten(-2) for x, n in zip(parts, sizes, strict=True)]
        return torch.atleast_2d(torch.cat(tokens, -1))[:, None, None]

    def _memory_tokens(
        self, maps: Tensor, pointers: Tensor, anchors: int = 0, distances: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, K, Cm) tokens of the maps, then of the pointers, and their (1 or B, K, Cm) positions."""
        count = maps.shape[1] - anchors
        embedding = self.sam2.maskmem_tpos_enc[:, 0]  # num_maskmem, 1, Cm
        temporal = embedding[:count].flip(0)  # M, 1, Cm: the oldest is the farthest
        if anchors:
            temporal = torch.cat([temporal, embedding[-1:].expand(anchors, -1, -1)])
        tokens = maps.flatten(3).transpose(2, 3).flatten(1, 2)  # B, M*HW, Cm
        position = (self.map_position.to(maps.dtype) + temporal).flatten(0, 1)[None]
        if pointers.shape[1] == 0:
            return tokens, position
        pointer_tokens, pointer_position = self._pointer_tokens(pointers, distances)
        position = position.expand(len(pointer_position), -1, -1)
        return torch.cat([tokens, pointer_tokens], 1), torch.cat([position, pointer_position], 1)

    def _pointer_tokens(self, pointers: Tensor, distances: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Splits (B, P, C) pointers, nearest first, into (B, P*C/Cm, Cm) tokens; with their positions.

        The last pointers' distances may be given, (B, A).
        """
        sam2, (count, width) = self.sam2, pointers.shape[1:]
        parts = width // sam2.mem_dim
        tokens = pointers.unflatten(2, (parts, sam2.mem_dim)).flatten(1, 2)
        if not sam2.add_tpos_enc_to_obj_ptrs:
            return tokens, tokens.new_zeros(1, count * parts, sam2.mem_dim)
        from sam2.modeling.sam2_utils import get_1d_sine_pe

        distance = torch.arange(1, count + 1, device=pointers.device)[None]  # 1, P
        if distances is not None:
            known = distances if sam2.use_signed_tpos_enc_to_obj_ptrs else distances.abs()
            recent = distance[:, : count - known.shape[1]].expand(len(known), -1)
            distance = torch.cat([recent.to(known.dtype), known], 1)  # B, P
        distance = distance / (sam2.max_obj_ptrs_in_encoder - 1)
        dim = width if sam2.proj_tpos_enc_in_obj_ptrs else sam2.mem_dim
        position = sam2.obj_ptr_tpos_proj(
            get_1d_sine_pe(distance, dim=dim).to(pointers.dtype)
        )  # 1 or B, P, Cm
        return tokens, position.repeat_interleave(parts, dim=1)

    def encode_memory(self, top: Tensor, mask_logits: Tensor, score: Tensor) -> Tensor:
        """Encodes a frame and its mask into memory features.

        Args:
            top: (B, C, H, W) adapted features, not conditioned on memory.
            mask_logits: (B, S, S) at canvas resolution.
            score: (B,) object score logits (SAM 2.1 marks frames without the object).

        Returns:
            (B, Cm, H, W).
        """
        sam2, encoder = self.sam2, self.sam2.memory_encoder
        mask = torch.sigmoid(mask_logits) * sam2.sigmoid_scale_for_mem_enc + sam2.sigmoid_bias_for_mem_enc
        # Its own forward pass would make sine positions as well, at every frame.
        shape = encoder.mask_downsampler(mask[:, None].to(top.dtype))
        memory = encoder.out_proj(encoder.fuser(encoder.pix_feat_proj(top) + shape))
        if sam2.no_obj_embed_spatial is not None:
            absent = (score <= 0).to(memory.dtype)[:, None, None, None]
            memory = memory + absent * sam2.no_obj_embed_spatial[..., None, None]
        return memory


def _rotary_attention(
    attention: RoPEAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    table: Tensor,
    rotated: int,
    mask: Tensor | None = None,
) -> Tensor:
    """sam2's ``RoPEAttention``, in which the first ``rotated`` keys have a place; mask true where allowed."""
    heads = attention.num_heads
    q, k, v = (
        project(x).unflatten(2, (heads, -1)).transpose(1, 2)  # B, heads, N, D
        for project, x in zip(
            (attention.q_proj, attention.k_proj, attention.v_proj), (query, key, value), strict=True
        )
    )
    q = _rotate(q, table)
    placed = _rotate(k[:, :, :rotated], table)
    k = placed if rotated == k.shape[2] else torch.cat([placed, k[:, :, rotated:]], 2)
    dropout = attention.dropout_p if attention.training else 0.0
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    return attention.out_proj(out.transpose(1, 2).flatten(2))


def _rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotary position embedding: turns pairs of channels by the angles of their place on a square map.

    Args:
        x: (B, heads, K*HW, D): tokens of K maps one after another.
        table: (HW, D/2, 2), cosine and sine of the angles.
    """
    pairs = x.float().unflatten(2, (-1, table.shape[0])).unflatten(-1, (-1, 2))  # B, heads, K, HW, D/2, 2
    if torch.compiler.is_compiling():  # the compiler fuses real numbers only
        a, b = pairs.unbind(-1)
        cos, sin = table.unbind(-1)
        turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(table))
    return turned.flatten(-2).flatten(2, 3).to(x.dtype)  # B, heads, K*HW, D
