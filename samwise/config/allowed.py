"""What a network's configuration may change in the frozen encoders, as explicit lists.

Configs also come from checkpoints, which anybody may have written. SAM 2 is built by ``instantiate``, which
calls whatever a ``_target_`` names, and its trunk would unpickle the file that ``weights_path`` names;
transformers would run a repository's Python with ``trust_remote_code``. So only sizes and switches pass, by
name, and only as numbers or as words from a short list.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from samwise.errors import UserError, shown

_LARGEST = 1_000_000  # of any size: the largest vocabulary has a quarter of it
_PLAIN_WORD = re.compile(r"[A-Za-z]\w*")
_WORDS = {"nearest", "bilinear", "sum", "avg", "relu", "gelu", "glu"}

_TRUNK = (
    "embed_dim num_heads drop_path_rate q_pool q_stride stages dim_mul head_mul window_spec "
    "global_att_blocks window_pos_embed_bkg_spatial_size"
)
_NECK = (
    "d_model backbone_channel_list kernel_size stride padding fpn_interp_model fuse_type fpn_top_down_levels "
    "position_encoding.num_pos_feats"
)
_LAYER = (
    "activation d_model dim_feedforward dropout pos_enc_at_attn pos_enc_at_cross_attn_keys "
    "pos_enc_at_cross_attn_queries"
)
_ROPE = "rope_theta feat_sizes rope_k_repeat embedding_dim num_heads downsample_rate dropout kv_in_dim"
_MEMORY_ENCODER = (
    "in_dim out_dim position_encoding.num_pos_feats mask_downsampler.kernel_size mask_downsampler.stride "
    "mask_downsampler.padding mask_downsampler.embed_dim fuser.num_layers fuser.layer.dim "
    "fuser.layer.kernel_size fuser.layer.padding fuser.layer.layer_scale_init_value fuser.layer.use_dwconv"
)
_BASE = (
    "num_maskmem sigmoid_scale_for_mem_enc sigmoid_bias_for_mem_enc binarize_mask_from_pts_for_mem_enc "
    "use_mask_input_as_output_without_sam max_cond_frames_in_attn directly_add_no_mem_embed "
    "use_high_res_features_in_sam multimask_output_in_sam multimask_min_pt_num multimask_max_pt_num "
    "multimask_output_for_tracking use_multimask_token_for_obj_ptr iou_prediction_use_sigmoid "
    "memory_temporal_stride_for_eval non_overlap_masks_for_mem_enc use_obj_ptrs_in_encoder "
    "max_obj_ptrs_in_encoder add_tpos_enc_to_obj_ptrs proj_tpos_enc_in_obj_ptrs "
    "use_signed_tpos_enc_to_obj_ptrs "
    "only_obj_ptrs_in_the_past_for_eval pred_obj_scores pred_obj_scores_mlp fixed_no_obj_ptr soft_no_obj_ptr "
    "use_mlp_for_obj_ptr_proj no_obj_embed_spatial "
    "sam_mask_decoder_extra_args.dynamic_multimask_via_stability "
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_delta "
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh"
)


def _under(prefix: str, names: str) -> list[str]:
    return [f"{prefix}{name}" for name in names.split()]


SAM2_KEYS = frozenset(
    [
        *_under("image_encoder.trunk.", _TRUNK),
        *_under("image_encoder.neck.", _NECK),
        "image_encoder.scalp",
        *_under("memory_attention.", "d_model pos_enc_at_input num_layers"),
        *_under("memory_attention.layer.", _LAYER),
        *_under("memory_attention.layer.self_attention.", _ROPE),
        *_under("memory_attention.layer.cross_attention.", _ROPE),
        *_under("memory_encoder.", _MEMORY_ENCODER),
        *_under("", _BASE),
    ]
)
_BERT_KEYS = frozenset(
    "vocab_size hidden_size intermediate_size num_attention_heads num_hidden_layers max_position_embeddings "
    "type_vocab_size layer_norm_eps pad_token_id bos_token_id eos_token_id hidden_act hidden_dropout_prob "
    "attention_probs_dropout_prob".split()
)
_CLIP_KEYS = frozenset("context_length vocab_size width heads layers mlp_ratio ls_init_value".split())
TEXT_KEYS = {"roberta": _BERT_KEYS, "bert": _BERT_KEYS, "clip": _CLIP_KEYS}
SAM2_FILE = re.compile(r"configs/sam2(\.1)?/\w[\w.+]*\.yaml")


def check_backbone(file: str, overrides: Mapping[str, Any]) -> None:
    """Refuses a YAML outside sam2's own, and changes that aren't sizes or switches.

    Raises:
        UserError: They are refused; the message says what to do.
    """
    if not SAM2_FILE.fullmatch(file):
        raise UserError(
            f"model.backbone.config={file} isn't one of sam2's own files, such as "
            "configs/sam2/sam2_hiera_b+.yaml; choose backbone=... instead"
        )
    check_overrides("model.backbone.overrides", overrides, SAM2_KEYS)


def check_text(family: str, overrides: Mapping[str, Any]) -> None:
    """The same for a text encoder; an extension's family may have any names.

    Raises:
        UserError: They are refused; the message says what to do.
    """
    check_overrides("model.text_encoder.overrides", overrides, TEXT_KEYS.get(family))


def check_overrides(where: str, overrides: Mapping[str, Any], keys: Collection[str] | None) -> None:
    """Refuses unknown keys, and values that aren't numbers, words from a short list, or lists of these.

    Args:
        where: The key of the config that holds them.
        overrides: Name -> value.
        keys: The known names; None for any plain word.

    Raises:
        UserError: One is refused; the message names it.
    """
    for key, value in overrides.items():
        known = key in keys if keys is not None else isinstance(key, str) and _PLAIN_WORD.fullmatch(key)
        if not known:
            ends = sorted({name.rpartition(".")[2] for name in keys or ()})
            raise UserError(
                f"{where} can't hold {shown(key)}: only sizes and switches can be changed"
                + (f" ({', '.join(ends[:12])}, ...; samwise/config/allowed.py has them all)" if ends else "")
            )
        if not _plain(value, depth=2):
            raise UserError(
                f"{where}.{key}={shown(value)} must be a number, true or false, or a list of numbers"
            )


def _plain(value: Any, depth: int) -> bool:
    if isinstance(value, (list, tuple)):
        return depth > 0 and len(value) <= 64 and all(_plain(x, depth - 1) for x in value)
    if isinstance(value, str):
        return value in _WORDS
    if value is None or isinstance(value, bool):
        return True
    return isinstance(value, (int, float)) and abs(value) <= _LARGEST  # false for NaN
