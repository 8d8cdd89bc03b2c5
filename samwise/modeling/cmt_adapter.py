"""The Cross-Modal Temporal (CMT) adapter with its three parts: HSA, VTA and TVA (paper Sec. 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samwise.config.parts import AdapterConfig
from samwise.config.registry import ADAPTERS
from samwise.encoders.positions import sine_embedding, sine_grid, unit_positions
from samwise.encoders.recompute import run


def attend(
    attention: nn.MultiheadAttention, query: Tensor, context: Tensor, ignore: Tensor | None = None
) -> Tensor:
    """Attention of (N, Q, D) to (N, K, D); ``ignore`` is (N, K) bool, true on padding.

    As calling ``attention``, but always through the fused kernels: in inference nn.MultiheadAttention takes
    a path of its own, which is slower for HSA on a CPU.
    """
    d, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if query is context:
        q, k, v = F.linear(query, weight, bias).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    else:
        q = F.linear(query, weight[:d], bias[:d]).unflatten(-1, (heads, -1)).transpose(1, 2)
        k, v = F.linear(context, weight[d:], bias[d:]).unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
    mask = None if ignore is None else ~ignore[:, None, None]  # N, 1, 1, K
    dropout = attention.dropout if attention.training else 0.0
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)  # N, heads, Q, D/heads
    return attention.out_proj(out.transpose(1, 2).flatten(2))


class HierarchicalSelectiveAttention(nn.Module):
    """HSA (Eq. 4): self-attention inside spatio-temporal patches of T x P x P positions.

    Args:
        dim: Width D.
        heads: Attention heads.
        patch_size: Side P of a patch.
        spatial_embedding: ``learned`` (released weights) or ``sine`` (paper, 2-D).
        dropout: Attention dropout in training.
    """

    def __init__(self, dim: int, heads: int, patch_size: int, spatial_embedding: str, dropout: float) -> None:
        super().__init__()
        self.patch_size = patch_size
        if spatial_embedding == "learned":
            self.spatial_embedding = nn.Parameter(torch.zeros(patch_size**2, dim))
            nn.init.trunc_normal_(self.spatial_embedding, std=0.02)
        else:
            self.register_buffer(
                "spatial_embedding", sine_grid(patch_size, dim).flatten(0, 1), persistent=False
            )
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, D) -> the same shape: what is to be added to the input."""
        b, t, h, w, d = x.shape
        p = self.patch_size
        x = x.view(b, t, h // p, p, w // p, p, d).permute(0, 2, 4, 1, 3, 5, 6)  # B, H/P, W/P, T, P, P, D
        x = x.reshape(-1, t, p * p, d)  # B*N, T, P*P, D
        temporal = sine_embedding(unit_positions(t, x.device), d).to(x.dtype)
        x = x + temporal[:, None] + self.spatial_embedding.to(x.dtype)
        x = self.norm(x).flatten(1, 2)  # B*N, T*P*P, D
        x = self.linear(attend(self.attention, x, x))
        x = x.view(b, h // p, w // p, t, p, p, d).permute(0, 3, 1, 4, 2, 5, 6)
        return x.reshape(b, t, h, w, d)


@ADAPTERS.register("cmt")
class CMTAdapter(nn.Module):
    """The adapter after one vision stage and the text layers beside it (Eq. 3).

    Args:
        vision_width: Channels of the vision stage.
        text_width: Channels of the text.
        patch_size: P of its HSA.
        config: Width, heads and which parts are on.

    Attributes:
        padding_attended: Whether VTA sees the padding of shorter sentences, as in the released training.
    """

    def __init__(self, vision_width: int, text_width: int, patch_size: int, config: AdapterConfig) -> None:
        super().__init__()
        dim, heads = config.dim, config.heads
        self.recompute = False
        self.padding_attended = False
        self.visual_down = nn.Sequential(
            nn.Conv2d(vision_width, dim, 1, bias=False), nn.BatchNorm2d(dim), nn.ReLU()
        )
        self.visual_up = nn.Sequential(
            nn.ConvTranspose2d(dim, vision_width, 1, bias=False), nn.BatchNorm2d(vision_width), nn.ReLU()
        )
        self.text_down = nn.Linear(text_width, dim, bias=False)
        self.text_up = nn.Linear(dim, text_width, bias=False)
        self.hsa = (
            HierarchicalSelectiveAttention(dim, heads, patch_size, config.spatial_embedding, config.dropout)
            if config.hsa
            else None
        )
        self.vta, self.tva = (
            nn.MultiheadAttention(dim, heads, dropout=config.cross_dropout, batch_first=True) if on else None
            for on in (config.vta, config.tva)
        )

    def forward(
        self, visual: Tensor, text: Tensor, text_padding: Tensor | None, frames: int
    ) -> tuple[Tensor, Tensor]:
        """Adapts both modalities.

        Args:
            visual: (B*T, C, H, W) features of B clips.
            text: (B, L, Ct).
            text_padding: (B, L) bool, true on padded tokens, or None when there are none.
            frames: T.

        Returns:
            The increments to be added to ``visual`` and ``text``, of their shapes.
        """
        h, w = visual.shape[-2:]
        x = self.visual_down(visual)  # B*T, D, H, W
        x = x.permute(0, 2, 3, 1).unflatten(0, (-1, frames))  # B, T, H, W, D
        s = self.text_down(text)  # B, L, D
        # Recomputing leaves BatchNorm out: a second pass would move its running statistics twice.
        y = x if self.hsa is None else x + run(self.recompute, self.hsa, x)
        adapted_text = s
        if self.tva is not None:  # Eq. 6; x, not y
            adapted_text = s * run(self.recompute, attend, self.tva, s, x.mean(1).flatten(1, 2))
        if self.vta is not None:  # Eq. 5; all frames of a clip read the same sentence
            tokens = y.flatten(1, 3)  # B, T*H*W, D
            ignored = None if self.padding_attended else text_padding
            attended = run(self.recompute, attend, self.vta, tokens, s, ignored)
            y = (tokens * attended).unflatten(1, (frames, h, w))
        y = self.visual_up(y.flatten(0, 1).permute(0, 3, 1, 2))  # B*T, C, H, W
        return y, self.text_up(adapted_text)


def build_adapter(vision_width: int, text_width: int, patch_size: int, config: AdapterConfig) -> nn.Module:
    """Builds the adapter that ``config.kind`` names: a ``CMTAdapter``, or something called as one."""
    return ADAPTERS.find(config.kind)(vision_width, text_width, patch_size, config)
