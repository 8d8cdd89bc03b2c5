"""SAM 2 (paper Sec. 3.1), taken apart into the steps that SAMWISE interleaves with text.

All modules come from the installed sam2 package. What is ours is the order in which they run: the image
encoder stage by stage, the mask decoder with one more sparse prompt and its early token, and, in
sam2_memory.py, the memory without "conditioning" frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samwise.config.parts import BackboneConfig
from samwise.encoders.places import Place, beside, linear_places
from samwise.encoders.positions import sine_grid
from samwise.encoders.recompute import run
from samwise.encoders.sam2_build import build_image_predictor, build_sam2, build_video_predictor
from samwise.encoders.sam2_features import Decoded, DecoderProgress, FrameFeatures
from samwise.encoders.sam2_memory import Sam2Memory

if TYPE_CHECKING:
    from sam2.modeling.backbones.hieradet import MultiScaleBlock
    from sam2.modeling.sam.transformer import TwoWayTransformer
    from sam2.sam2_image_predictor import SAM2ImagePredictor
    from sam2.sam2_video_predictor import SAM2VideoPredictor

NUM_STAGES = 4
ABSENT_LOGIT = -1024.0  # mask logit of a frame that doesn't show the object


def to_canvas_scale(low_res_logits: Tensor, canvas: int) -> Tensor:
    """(B, S/4, S/4) mask logits -> (B, S, S), bilinear, float32."""
    x = low_res_logits.float()[:, None]
    return F.interpolate(x, size=(canvas, canvas), mode="bilinear", align_corners=False)[:, 0]


class Sam2Backbone(Sam2Memory):
    """SAM 2's parts as steps (Sec. 3.1).

    Args:
        config: Which SAM 2.
        canvas: Side S of the input square, a multiple of 64.
        object_scores: Whether a frame can be declared to lack the object.
    """

    dense_position: Tensor  # 1, HW, C: the decoder's positional encoding of the top features

    def __init__(self, config: BackboneConfig, canvas: int, object_scores: bool = True) -> None:
        super().__init__()
        self.sam2 = build_sam2(config, canvas, object_scores)
        if config.trainable and not config.checkpoint:
            self._start_positions()
        self.keep_positions(canvas // 16)
        self.register_buffer("dense_position", self._dense_position(), persistent=False)
        self.register_load_state_dict_post_hook(_renew_dense_position)
        self.recompute = False
        self.config, self.canvas = config, canvas
        self.object_scores = object_scores and self.sam2.pred_obj_scores

    def _start_positions(self) -> None:
        """Sines, to train from scratch, instead of the zeros that sam2 expects weights to replace."""
        trunk = self.sam2.image_encoder.trunk
        grid = sine_grid(trunk.pos_embed.shape[-1], trunk.pos_embed.shape[1]).permute(2, 0, 1)
        with torch.no_grad():
            trunk.pos_embed.copy_(0.5 * grid[None])
        nn.init.trunc_normal_(trunk.pos_embed_window, std=0.02)

    @torch.no_grad()
    def _dense_position(self) -> Tensor:
        """(1, HW, C): the decoder's positional encoding of the top features, from the current weights."""
        return self.sam2.sam_prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2).contiguous()

    @property
    def stage_widths(self) -> list[int]:
        """Channels of the four stages, highest resolution first."""
        return list(self.sam2.image_encoder.trunk.channel_list[::-1])

    @property
    def width(self) -> int:
        """C, the width of prompts, pointers and the top features."""
        return self.sam2.hidden_dim

    def image_predictor(self) -> SAM2ImagePredictor:
        """sam2's own predictor for clicks and boxes in images, on these weights (shared, not copied)."""
        return build_image_predictor(self.sam2, self.config, self.canvas)

    def video_predictor(self) -> SAM2VideoPredictor:
        """sam2's own predictor for clicks and boxes in videos, on these weights (shared, not copied)."""
        return build_video_predictor(self.sam2, self.config, self.canvas)

    @property
    def blocks(self) -> list[MultiScaleBlock]:
        """The image encoder's blocks."""
        return list(self.sam2.image_encoder.trunk.blocks)

    @property
    def layers(self) -> list[nn.Module]:
        """The blocks, and the mask decoder's layers."""
        return [*self.blocks, *self._two_way.layers]

    @property
    def _two_way(self) -> TwoWayTransformer:
        return cast("TwoWayTransformer", self.sam2.sam_mask_decoder.transformer)

    @property
    def linears(self) -> list[Place]:
        """The linear layers of the image encoder's blocks."""
        return [
            place
            for index, block in enumerate(self.blocks)
            for part, module in (("attention", block.attn), ("mlp", block.mlp))
            for place in linear_places(module, f"{index}.{part}", part)
        ]

    @property
    def mlps(self) -> list[Place]:
        """The MLPs of the image encoder's blocks, after their LayerNorm."""
        return [Place(f"{k}", "mlp", b.dim_out, b.dim_out, beside(b.mlp)) for k, b in enumerate(self.blocks)]

    # image encoder

    def embed_patches(self, frames: Tensor) -> Tensor:
        """(N, 3, S, S) normalised frames -> (N, S/4, S/4, C0) patch embeddings with positions."""
        trunk = self.sam2.image_encoder.trunk
        x = trunk.patch_embed(frames)
        return x + trunk._get_pos_embed(x.shape[1:3])

    def run_stage(self, stage: int, x: Tensor) -> Tensor:
        """Runs Hiera's stage 0..3: (N, H, W, C) -> (N, H', W', C')."""
        trunk = self.sam2.image_encoder.trunk
        first = 0 if stage == 0 else trunk.stage_ends[stage - 1] + 1
        for block in trunk.blocks[first : trunk.stage_ends[stage] + 1]:
            x = run(self.recompute, block, x)
        return x

    def run_neck_stride4(self, stage: Tensor) -> Tensor:
        """The neck's finest level for the decoder, from stage 0 alone: (N, H, W, C0) -> (N, C/8, H, W)."""
        lateral = self.sam2.image_encoder.neck.convs[-1](stage.permute(0, 3, 1, 2))
        return self.sam2.sam_mask_decoder.conv_s0(lateral)

    def run_neck(self, stages: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The FPN neck on the (N, H_k, W_k, C_k) features of stages 1, 2 and 3.

        Returns:
            Features at stride 8 for the decoder (N, C/4, S/8, S/8) and at stride 16 (N, C, S/16, S/16). The
            neck's lowest resolution only flows into them.
        """
        neck = self.sam2.image_encoder.neck
        level = {k: neck.convs[3 - k](stages[k - 1].permute(0, 3, 1, 2)) for k in (3, 2, 1)}
        for k in (2, 1):
            if k in neck.fpn_top_down_levels:
                level[k] = level[k] + F.interpolate(
                    level[k + 1], scale_factor=2.0, mode=neck.fpn_interp_model
                )
                if neck.fuse_type == "avg":
                    level[k] = level[k] / 2
        return self.sam2.sam_mask_decoder.conv_s1(level[1]), level[2]

    # prompt and mask decoder

    def sparse_prompt(self, rho: Tensor) -> Tensor:
        """Appends the text prompts (B, p, C) to the two "not a point" tokens of a click-less SAM 2 prompt."""
        nothing = self.not_a_point.expand(rho.shape[0], 2, -1)
        return torch.cat([nothing, rho], dim=1)  # B, 2+p, C

    @property
    def not_a_point(self) -> Tensor:
        """(1, C): SAM 2's embedding of a missing prompt."""
        return self.sam2.sam_prompt_encoder.not_a_point_embed.weight

    def start_decoding(self, features: Tensor, prompt: Tensor) -> DecoderProgress:
        """Runs the first two-way layer.

        Args:
            features: (B, C, H, W), with or without memory.
            prompt: (B, n, C) sparse prompt.
        """
        decoder, prompt_encoder = self.sam2.sam_mask_decoder, self.sam2.sam_prompt_encoder
        output_tokens = [decoder.iou_token.weight, decoder.mask_tokens.weight]
        if self.object_scores:
            output_tokens.insert(0, decoder.obj_score_token.weight)
        output_tokens = torch.cat(output_tokens).expand(prompt.shape[0], -1, -1)
        tokens = torch.cat([output_tokens, prompt], dim=1)  # B, n, C
        dense = prompt_encoder.no_mask_embed.weight[..., None, None]  # 1, C, 1, 1
        keys = (features + dense).flatten(2).transpose(1, 2)  # B, HW, C
        position = self.dense_position.to(keys.dtype)
        queries, keys = self._two_way.layers[0](tokens, keys, tokens, position)
        return DecoderProgress(tokens, queries, keys, position, queries[:, self._mask_token])

    def finish_decoding(self, progress: DecoderProgress, frames: FrameFeatures) -> Decoded:
        """Runs the rest of the decoder for the single-mask output (mask token 0)."""
        decoder = self.sam2.sam_mask_decoder
        transformer = self._two_way
        queries, keys = progress.queries, progress.keys
        for layer in transformer.layers[1:]:
            queries, keys = layer(queries, keys, progress.tokens, progress.image_position)
        attended = transformer.final_attn_token_to_image(
            q=queries + progress.tokens, k=keys + progress.image_position, v=keys
        )
        queries = transformer.norm_final_attn(queries + attended)

        up1, norm, act1, up2, act2 = decoder.output_upscaling
        x = keys.transpose(1, 2).unflatten(2, frames.top.shape[-2:])  # B, C, H, W
        x = act1(norm(up1(x) + frames.stride8))
        x = act2(up2(x) + frames.stride4)  # B, C/8, S/4, S/4
        token = queries[:, self._mask_token]
        kernel = decoder.output_hypernetworks_mlps[0](token)  # B, C/8
        logits = torch.einsum("bc,bchw->bhw", kernel, x)

        pointer = self.sam2.obj_ptr_proj(token)
        if self.object_scores:
            score = decoder.pred_obj_score_head(queries[:, 0])[:, 0]
            present = (score > 0).to(pointer.dtype)[:, None]
            pointer = present * pointer + (1 - present) * self.sam2.no_obj_ptr
        else:
            score = torch.full_like(token[:, 0], 10.0)
        return Decoded(logits, pointer, score, progress.early_token)

    @property
    def _mask_token(self) -> int:
        return 2 if self.object_scores else 1  # after the object score token and the IoU token

    def to_canvas(self, low_res_logits: Tensor) -> Tensor:
        """(B, S/4, S/4) mask logits -> (B, S, S), bilinear, float32."""
        return to_canvas_scale(low_res_logits, self.canvas)


def _renew_dense_position(backbone: Sam2Backbone, _: object) -> None:
    """After loading: the encoding's random frequencies are part of the weights."""
    backbone.dense_position = backbone._dense_position()
