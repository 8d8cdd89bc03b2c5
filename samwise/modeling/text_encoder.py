"""Text encoders run layer group by layer group, beside the vision stages."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from samwise.config import TextEncoderConfig
from samwise.errors import UserError
from samwise.modeling.recompute import run
from samwise.modeling.tokens import Tokens


class StagedTextEncoder(nn.Module):
    """Base of the text encoders: embed, then four groups of layers, then the sentence state.

    Args:
        config: Which encoder; ``stage_layers`` says how many layers run beside each vision stage.
    """

    width: int

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        ends = [sum(config.stage_layers[: i + 1]) for i in range(len(config.stage_layers))]
        self._groups = [slice(end - count, end) for end, count in zip(ends, config.stage_layers, strict=True)]

    @property
    def layers(self) -> nn.ModuleList:
        raise NotImplementedError

    def embed(self, tokens: Tokens) -> Tensor:
        """(B, L, Ct) input embeddings."""
        raise NotImplementedError

    def run_layer(self, layer: nn.Module, x: Tensor, tokens: Tokens) -> Tensor:
        raise NotImplementedError

    def sentence_state(self, x: Tensor, tokens: Tokens) -> Tensor:
        """(B, Ct): the state that stands for the whole sentence, from the adapted tokens."""
        raise NotImplementedError

    def run_stage(self, stage: int, x: Tensor, tokens: Tokens) -> Tensor:
        """Runs the layers beside vision stage 0..3 on (B, L, Ct)."""
        for layer in self.layers[self._groups[stage]]:
            x = run(self.recompute, self.run_layer, layer, x, tokens)
        return x

    def _check_depth(self) -> None:
        if sum(self.config.stage_layers) != len(self.layers):
            raise UserError(
                f"model.text_encoder.stage_layers={self.config.stage_layers} adds up to "
                f"{sum(self.config.stage_layers)}, but {self.config.name} has {len(self.layers)} layers"
            )


class BertLikeEncoder(StagedTextEncoder):
    """RoBERTa, BERT and their like through transformers. The sentence state is token 0."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__(config)
        self.model = _build_transformers_model(config)
        self.width = self.model.config.hidden_size
        self._check_depth()

    @property
    def layers(self) -> nn.ModuleList:
        return self.model.encoder.layer

    def embed(self, tokens: Tokens) -> Tensor:
        return self.model.embeddings(input_ids=tokens.ids)

    def run_layer(self, layer: nn.Module, x: Tensor, tokens: Tokens) -> Tensor:
        mask = (
            ~tokens.padding[:, None, None] if tokens.padded else None
        )  # B, 1, 1, L: what may be attended to
        out = layer(x, attention_mask=mask)
        return out[0] if isinstance(out, tuple) else out

    def sentence_state(self, x: Tensor, tokens: Tokens) -> Tensor:
        return x[:, 0]


class ClipTextEncoder(StagedTextEncoder):
    """CLIP's text tower through open_clip; the sentence state is the normalised end-of-text token."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__(config)
        self.model = _build_clip_text_tower(config)
        self.width = self.model.width
        self._check_depth()

    @property
    def layers(self) -> nn.ModuleList:
        return self.model.transformer.resblocks

    def embed(self, tokens: Tokens) -> Tensor:
        return self.model.token_embedding(tokens.ids) + self.model.positional_embedding[: tokens.ids.shape[1]]

    def run_layer(self, layer: nn.Module, x: Tensor, tokens: Tokens) -> Tensor:
        # Causal, and padding comes last: no real token ever sees it.
        return layer(x, attn_mask=self.model.attn_mask[: x.shape[1], : x.shape[1]].to(x.dtype))

    def sentence_state(self, x: Tensor, tokens: Tokens) -> Tensor:
        last = (~tokens.padding).sum(1) - 1
        return self.model.ln_final(x[torch.arange(len(x), device=x.device), last])


def build_text_encoder(config: TextEncoderConfig) -> StagedTextEncoder:
    """Builds the encoder that ``config.family`` names."""
    return ClipTextEncoder(config) if config.family == "clip" else BertLikeEncoder(config)


def _build_transformers_model(config: TextEncoderConfig) -> nn.Module:
    from transformers import AutoConfig, AutoModel, BertConfig, RobertaConfig

    if config.pretrained or config.checkpoint:
        where = config.checkpoint or config.name
        try:
            return AutoModel.from_pretrained(where, attn_implementation="sdpa", add_pooling_layer=False)
        except Exception as error:  # transformers raises whatever the hub client raised
            raise UserError(
                f"can't load the text encoder '{where}' ({type(error).__name__}); put its folder where "
                "model.text_encoder.checkpoint says; see checkpoints/README.md"
            ) from error
    architecture = {"roberta": RobertaConfig, "bert": BertConfig}[config.family]
    sizes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} if config.trainable else {}
    sizes |= ROBERTA_SIZES.get(config.name, {}) | config.overrides
    model_config: AutoConfig = architecture(**sizes)
    model_config._attn_implementation = "sdpa"
    return AutoModel.from_config(model_config, add_pooling_layer=False)


# Sizes of the published models, so that they can be built where the hub can't be reached.
_ROBERTA = {
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
ROBERTA_SIZES = {
    "roberta-base": _ROBERTA,
    "roberta-large": _ROBERTA
    | {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}


def _build_clip_text_tower(config: TextEncoderConfig) -> nn.Module:
    import open_clip
    from open_clip.model import CLIPTextCfg, _build_text_tower

    sizes = open_clip.get_model_config(config.name)
    if sizes is None:
        raise UserError(
            f"open_clip knows no '{config.name}'; model.text_encoder.name is one of open_clip.list_models()"
        )
    text_sizes = {**sizes["text_cfg"], **config.overrides}
    tower = _build_text_tower(sizes["embed_dim"], CLIPTextCfg(**text_sizes), sizes.get("quick_gelu", False))
    if config.pretrained or config.checkpoint:
        _load_clip_text(tower, config)
    return tower


def _load_clip_text(tower: nn.Module, config: TextEncoderConfig) -> None:
    import open_clip

    if config.checkpoint and not Path(config.checkpoint).is_file():
        raise UserError(
            f"model.text_encoder.checkpoint={config.checkpoint} doesn't exist; see checkpoints/README.md"
        )
    try:
        source = config.checkpoint or "openai"
        clip = open_clip.create_model(config.name, pretrained=source, load_weights_only=True)
    except Exception as error:  # open_clip raises whatever the hub client raised
        raise UserError(
            f"can't load CLIP's weights '{config.name}' ({type(error).__name__}); put the file where "
            "model.text_encoder.checkpoint says; see checkpoints/README.md"
        ) from error
    state = clip.state_dict()
    tower.load_state_dict({name: state[name] for name in tower.state_dict()}, strict=True)
