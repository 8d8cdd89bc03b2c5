"""Parameter names of the authors' checkpoints, and ours. Their text encoder is fairseq's RoBERTa."""

from __future__ import annotations

import re
from collections.abc import Iterable

from samwise.errors import UserError

_FAIRSEQ, _TRANSFORMERS = "text_encoder.model.encoder.sentence_encoder.", "text_encoder.model."
_LAYER, _OUR_LAYER = _FAIRSEQ + "layers.{}.", _TRANSFORMERS + "encoder.layer.{}."
_CME = "conditional_memory_encoder."
WORDS = _TRANSFORMERS + "embeddings.word_embeddings.weight"
TYPES = _TRANSFORMERS + "embeddings.token_type_embeddings.weight"  # without a counterpart: zero
EMBEDDING = _FAIRSEQ + "embed_tokens.weight"
LM_HEAD = "text_encoder.model.encoder.lm_head.weight"  # tied to the word embeddings

# Beginning of a released name -> beginning of ours; {} is a number. The first match counts, both ways.
PREFIXES: list[tuple[str, str]] = [
    (_FAIRSEQ + "embed_tokens.", _TRANSFORMERS + "embeddings.word_embeddings."),
    (_FAIRSEQ + "embed_positions.", _TRANSFORMERS + "embeddings.position_embeddings."),
    (_FAIRSEQ + "layernorm_embedding.", _TRANSFORMERS + "embeddings.LayerNorm."),
    (_LAYER + "self_attn.q_proj.", _OUR_LAYER + "attention.self.query."),
    (_LAYER + "self_attn.k_proj.", _OUR_LAYER + "attention.self.key."),
    (_LAYER + "self_attn.v_proj.", _OUR_LAYER + "attention.self.value."),
    (_LAYER + "self_attn.out_proj.", _OUR_LAYER + "attention.output.dense."),
    (_LAYER + "self_attn_layer_norm.", _OUR_LAYER + "attention.output.LayerNorm."),
    (_LAYER + "fc1.", _OUR_LAYER + "intermediate.dense."),
    (_LAYER + "fc2.", _OUR_LAYER + "output.dense."),
    (_LAYER + "final_layer_norm.", _OUR_LAYER + "output.LayerNorm."),
    ("sam.sam_prompt_encoder.project_text.layers.0.", "prompts.contextual.0."),
    ("sam.sam_prompt_encoder.project_text.layers.1.", "prompts.contextual.2."),
    ("sam.sam_prompt_encoder.project_text.layers.2.", "prompts.contextual.4."),
    ("sam.", "backbone.sam2."),
    (_CME + "transformerBlock.self_attn.", "cme.attention."),
    (_CME + "transformerBlock.linear1.", "cme.ffn.0."),
    (_CME + "transformerBlock.linear2.", "cme.ffn.2."),
    (_CME + "transformerBlock.norm1.", "cme.attention_norm."),
    (_CME + "transformerBlock.norm2.", "cme.unused_norm."),
    (_CME + "transformerBlock.norm3.", "cme.ffn_norm."),
    (_CME + "decision_token.", "cme.decision_token."),
    (_CME + "decision_class_head.", "cme.classifier."),
    ("cmt_adapters.{}.proj_vis_down.", "adapters.{}.visual_down."),
    ("cmt_adapters.{}.proj_vis_up.", "adapters.{}.visual_up."),
    ("cmt_adapters.{}.proj_text_down.0.", "adapters.{}.text_down."),
    ("cmt_adapters.{}.proj_text_up.0.", "adapters.{}.text_up."),
    ("cmt_adapters.{}.ca_V2T.multihead_attn.", "adapters.{}.vta."),
    ("cmt_adapters.{}.ca_T2V.multihead_attn.", "adapters.{}.tva."),
    ("cmt_adapters.{}.hsa.self_attn.", "adapters.{}.hsa.attention."),
    ("cmt_adapters.{}.hsa.linear.", "adapters.{}.hsa.linear."),
    ("cmt_adapters.{}.norm_pre_HSA.", "adapters.{}.hsa.norm."),
    ("cmt_adapters.{}.spatial_pos_embed", "adapters.{}.hsa.spatial_embedding"),
]

# Released names that have no place here, with the reason.
IGNORED: dict[str, str] = {
    r"^text_encoder\.model\.encoder\.lm_head\.(bias|dense\..*|layer_norm\..*)$": "unused language-model head",
    r"^text_encoder\._float_tensor$": "fairseq's own bookkeeping",
    r"^text_encoder\.model\.encoder\.sentence_encoder\.version$": "fairseq's own bookkeeping",
}


def _compile(pairs: Iterable[tuple[str, str]]) -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile("^" + re.escape(a).replace(r"\{\}", r"(\d+)")), b.replace("{}", r"\1")) for a, b in pairs
    ]


_TO_OURS = _compile(PREFIXES)
_TO_RELEASED = _compile((ours, released) for released, ours in PREFIXES)


def reason_ignored(released: str) -> str:
    """Why a released name has no place here; empty if it isn't on the list."""
    return next((reason for pattern, reason in IGNORED.items() if re.search(pattern, released)), "")


def our_name(released: str) -> str | None:
    """Our name for a released parameter, or None if it is on the ignored list.

    Raises:
        UserError: The name is on no list.
    """
    if reason_ignored(released):
        return None
    if released == LM_HEAD:
        return WORDS
    for pattern, replacement in _TO_OURS:
        if pattern.search(released):
            return pattern.sub(replacement, released)
    raise UserError(
        f"'{released}' isn't a parameter of a released SAMWISE checkpoint; is it another model's file?"
    )


def released_names(ours: str) -> list[str]:
    """The released names that hold one of our parameters: one, two for the tied word embeddings, or none.

    Raises:
        UserError: The released format has no place for it.
    """
    if ours == TYPES:
        return []
    for pattern, replacement in _TO_RELEASED:
        if pattern.search(ours):
            name = pattern.sub(replacement, ours)
            return [name, LM_HEAD] if ours == WORDS else [name]
    raise UserError(
        f"the released format has no place for '{ours}': it knows RoBERTa, the contextual prompt, HSA's "
        "learned spatial embedding and SAM 2"
    )
