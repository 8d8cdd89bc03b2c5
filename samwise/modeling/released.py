"""The authors' checkpoints: their parameter names, and how they become ours."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from samwise.config import SamwiseConfig
from samwise.errors import UserError
from samwise.modeling.samwise import Samwise

# Released name -> our name, first match holds. Text-encoder names are fairseq's.
_FAIRSEQ = r"^text_encoder\.model\.encoder\.sentence_encoder\."
_TRANSFORMERS = "text_encoder.model."
RENAMES: list[tuple[str, str]] = [
    (r"^text_encoder\.model\.encoder\.lm_head\.weight$", _TRANSFORMERS + "embeddings.word_embeddings.weight"),
    (_FAIRSEQ + r"embed_tokens\.", _TRANSFORMERS + "embeddings.word_embeddings."),
    (_FAIRSEQ + r"embed_positions\.", _TRANSFORMERS + "embeddings.position_embeddings."),
    (_FAIRSEQ + r"layernorm_embedding\.", _TRANSFORMERS + "embeddings.LayerNorm."),
    (
        _FAIRSEQ + r"layers\.(\d+)\.self_attn\.q_proj\.",
        _TRANSFORMERS + r"encoder.layer.\1.attention.self.query.",
    ),
    (
        _FAIRSEQ + r"layers\.(\d+)\.self_attn\.k_proj\.",
        _TRANSFORMERS + r"encoder.layer.\1.attention.self.key.",
    ),
    (
        _FAIRSEQ + r"layers\.(\d+)\.self_attn\.v_proj\.",
        _TRANSFORMERS + r"encoder.layer.\1.attention.self.value.",
    ),
    (
        _FAIRSEQ + r"layers\.(\d+)\.self_attn\.out_proj\.",
        _TRANSFORMERS + r"encoder.layer.\1.attention.output.dense.",
    ),
    (
        _FAIRSEQ + r"layers\.(\d+)\.self_attn_layer_norm\.",
        _TRANSFORMERS + r"encoder.layer.\1.attention.output.LayerNorm.",
    ),
    (_FAIRSEQ + r"layers\.(\d+)\.fc1\.", _TRANSFORMERS + r"encoder.layer.\1.intermediate.dense."),
    (_FAIRSEQ + r"layers\.(\d+)\.fc2\.", _TRANSFORMERS + r"encoder.layer.\1.output.dense."),
    (_FAIRSEQ + r"layers\.(\d+)\.final_layer_norm\.", _TRANSFORMERS + r"encoder.layer.\1.output.LayerNorm."),
    (r"^sam\.sam_prompt_encoder\.project_text\.layers\.0\.", "prompts.contextual.0."),
    (r"^sam\.sam_prompt_encoder\.project_text\.layers\.1\.", "prompts.contextual.2."),
    (r"^sam\.sam_prompt_encoder\.project_text\.layers\.2\.", "prompts.contextual.4."),
    (r"^sam\.", "backbone.sam2."),
    (r"^conditional_memory_encoder\.transformerBlock\.self_attn\.", "cme.attention."),
    (r"^conditional_memory_encoder\.transformerBlock\.linear1\.", "cme.ffn.0."),
    (r"^conditional_memory_encoder\.transformerBlock\.linear2\.", "cme.ffn.2."),
    (r"^conditional_memory_encoder\.transformerBlock\.norm1\.", "cme.attention_norm."),
    (r"^conditional_memory_encoder\.transformerBlock\.norm2\.", "cme.unused_norm."),
    (r"^conditional_memory_encoder\.transformerBlock\.norm3\.", "cme.ffn_norm."),
    (r"^conditional_memory_encoder\.decision_token\.", "cme.decision_token."),
    (r"^conditional_memory_encoder\.decision_class_head\.", "cme.classifier."),
    (r"^cmt_adapters\.(\d+)\.proj_vis_down\.", r"adapters.\1.visual_down."),
    (r"^cmt_adapters\.(\d+)\.proj_vis_up\.", r"adapters.\1.visual_up."),
    (r"^cmt_adapters\.(\d+)\.proj_text_down\.0\.", r"adapters.\1.text_down."),
    (r"^cmt_adapters\.(\d+)\.proj_text_up\.0\.", r"adapters.\1.text_up."),
    (r"^cmt_adapters\.(\d+)\.ca_V2T\.multihead_attn\.", r"adapters.\1.vta."),
    (r"^cmt_adapters\.(\d+)\.ca_T2V\.multihead_attn\.", r"adapters.\1.tva."),
    (r"^cmt_adapters\.(\d+)\.hsa\.self_attn\.", r"adapters.\1.hsa.attention."),
    (r"^cmt_adapters\.(\d+)\.hsa\.linear\.", r"adapters.\1.hsa.linear."),
    (r"^cmt_adapters\.(\d+)\.norm_pre_HSA\.", r"adapters.\1.hsa.norm."),
    (r"^cmt_adapters\.(\d+)\.spatial_pos_embed$", r"adapters.\1.hsa.spatial_embedding"),
]

# Released names that have no place here, with the reason.
IGNORED: dict[str, str] = {
    r"^text_encoder\.model\.encoder\.lm_head\.(bias|dense\..*|layer_norm\..*)$": "unused language-model head",
}

# Parts a config can switch off; their names are then left out.
_OPTIONAL: dict[str, str] = {
    r"^adapters\.\d+\.hsa\.": "model.adapter.hsa is false",
    r"^adapters\.\d+\.vta\.": "model.adapter.vta is false",
    r"^adapters\.\d+\.tva\.": "model.adapter.tva is false",
    r"^adapters\.": "model.adapter.enabled is false",
    r"^cme\.": "model.cme.enabled is false",
}

# Ours without a released counterpart, and what they are then.
_TYPE_EMBEDDING = "text_encoder.model.embeddings.token_type_embeddings.weight"


def our_name(released: str) -> str | None:
    """Our name of a released parameter, or None where it is on the ignored list.

    Raises:
        UserError: The name is on no list.
    """
    if any(re.search(pattern, released) for pattern in IGNORED):
        return None
    for pattern, replacement in RENAMES:
        if re.search(pattern, released):
            return re.sub(pattern, replacement, released)
    raise UserError(
        f"'{released}' is no parameter of a released SAMWISE checkpoint; is the file another model's?"
    )


def load_released(model: Samwise, released: dict[str, Tensor]) -> dict[str, str]:
    """Loads a released state dict, strictly.

    Args:
        model: The network to fill.
        released: Name -> tensor, in the released names, with or without ``module.`` in front.

    Returns:
        The released names that were left out, with the reason for each.

    Raises:
        UserError: A name is unknown, a parameter is missing, or a shape differs.
    """
    ours = model.state_dict()
    state: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    for name, tensor in released.items():
        name = name.removeprefix("module.")
        target = our_name(name)
        if target is None:
            left_out[name] = _reason(name, IGNORED)
        elif target not in ours and (reason := _reason_switched_off(target, model.config)):
            left_out[name] = reason
        elif target not in ours:
            raise UserError(f"the checkpoint's '{name}' has no place in this network ('{target}')")
        else:
            state[target] = tensor.reshape(ours[target].shape) if "spatial" in target else tensor
    if _TYPE_EMBEDDING in ours:
        state.setdefault(_TYPE_EMBEDDING, torch.zeros_like(ours[_TYPE_EMBEDDING]))
    _check(state, ours)
    model.load_state_dict(state, strict=True)
    return left_out


def _check(state: dict[str, Tensor], ours: dict[str, Tensor]) -> None:
    missing = sorted(ours.keys() - state.keys())
    if missing:
        raise UserError(
            f"the checkpoint lacks {len(missing)} parameters of this network: {_few(missing)}; "
            "was it made with other switches (model.prompt.motion, model.adapter, cme)?"
        )
    for name, tensor in state.items():
        if tensor.shape != ours[name].shape:
            raise UserError(
                f"'{name}' is {tuple(tensor.shape)} in the checkpoint and {tuple(ours[name].shape)} in "
                "this network; choose the model it was trained with"
            )


def _few(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _reason(name: str, table: dict[str, str]) -> str:
    return next((reason for pattern, reason in table.items() if re.search(pattern, name)), "")


def _reason_switched_off(target: str, config: SamwiseConfig) -> str:
    off = {
        r"hsa is": not config.adapter.hsa,
        r"vta is": not config.adapter.vta,
        r"tva is": not config.adapter.tva,
        r"adapter.enabled": not config.adapter.enabled,
        r"cme.enabled": not config.cme.enabled,
    }
    for pattern, reason in _OPTIONAL.items():
        if re.search(pattern, target) and any(is_off and key in reason for key, is_off in off.items()):
            return reason
    return ""
