"""Text encoders run layer group by layer group, beside the vision stages (paper Sec. 3.3)."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from samwise.config.parts import TextEncoderConfig
from samwise.config.registry import TEXT_ENCODERS
from samwise.encoders.places import Place, attention_places, beside, linear_places, to_residual
from samwise.encoders.recompute import run
from samwise.encoders.text_models import build_bert_like, build_clip_text_tower
from samwise.encoders.tokens import Tokens
from samwise.errors import UserError

if TYPE_CHECKING:
    from open_clip.transformer import TextTransformer
    from transformers.models.bert.modeling_bert import BertModel

PAPER_SPREAD = (1, 3, 4, 4)  # of twelve layers, beside vision stages 0 to 3


def spread_layers(depth: int) -> list[int]:
    """How many of an encoder's layers run beside each vision stage, in the paper's proportion.

    Twelve layers give 1, 3, 4 and 4; each stage ends at its share of the depth, halves rounded up.
    """
    ends = [int(depth * done / sum(PAPER_SPREAD) + 0.5) for done in accumulate(PAPER_SPREAD, initial=0)]
    return [end - start for start, end in pairwise(ends)]


class StagedTextEncoder(nn.Module):
    """Base of the text encoders: embed, then four groups of layers, then the sentence state.

    Args:
        config: Which encoder; ``stage_layers`` says how many layers run beside each vision stage.
        model: The network.
        width: Ct, the width of its tokens.
    """

    def __init__(self, config: TextEncoderConfig, model: nn.Module, width: int) -> None:
        super().__init__()
        self.config, self.model, self.width = config, model, width
        self.recompute = False
        depth = len(self.layers)
        counts = config.stage_layers or spread_layers(depth)
        if sum(counts) != depth:
            raise UserError(
                f"model.text_encoder.stage_layers={counts} adds up to {sum(counts)}, but {config.name} has "
                f"{depth} layers; null spreads them over the stages"
            )
        most = self.positions
        if config.max_tokens is not None and most is not None and config.max_tokens > most:
            raise UserError(
                f"model.text_encoder.max_tokens={config.max_tokens}: {config.name} takes {most}; null is its "
                "own limit"
            )
        self._groups = [slice(*ends) for ends in pairwise(accumulate(counts, initial=0))]

    @property
    def positions(self) -> int | None:
        """Most tokens it has places for, the special ones included; None if there is no limit."""
        return None

    @property
    def longest_sentence(self) -> int | None:
        """Most tokens of a sentence: as configured, else as many as there are places for."""
        return self.config.max_tokens or self.positions

    @property
    def layers(self) -> nn.ModuleList:
        raise NotImplementedError

    @property
    def linears(self) -> list[Place]:
        """The linear layers of attention and MLPs."""
        raise NotImplementedError

    @property
    def mlps(self) -> list[Place]:
        """The MLPs."""
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


@TEXT_ENCODERS.register("bert")
@TEXT_ENCODERS.register("roberta")
class BertLikeEncoder(StagedTextEncoder):
    """RoBERTa, BERT and their like through transformers. The sentence state is token 0."""

    model: BertModel

    def __init__(self, config: TextEncoderConfig) -> None:
        model = build_bert_like(config)
        super().__init__(config, model, model.config.hidden_size)
        known = model.config.model_type in ("bert", "roberta")
        if not known and not next(model.parameters()).is_meta:
            self._check_as_a_whole()

    @property
    def positions(self) -> int | None:
        sizes: Any = self.model.config
        # RoBERTa's first place comes after that of the padding token.
        used = sizes.pad_token_id + 1 if sizes.model_type == "roberta" else 0
        return sizes.max_position_embeddings - used

    @property
    def layers(self) -> nn.ModuleList:
        return self.model.encoder.layer

    @property
    def linears(self) -> list[Place]:
        parts = {"attention": "attention", "intermediate": "mlp", "output": "mlp"}
        return [
            place
            for index, layer in enumerate(self.layers)
            for name, part in parts.items()
            for place in linear_places(layer.get_submodule(name), f"{index}.{name}", part)
        ]

    @property
    def mlps(self) -> list[Place]:
        return [
            Place(f"{index}", "mlp", self.width, self.width, to_residual(layer.get_submodule("output")))
            for index, layer in enumerate(self.layers)
        ]

    def embed(self, tokens: Tokens) -> Tensor:
        x = self.model.embeddings(input_ids=tokens.ids)
        # No real token sees padding, but recipe.padding_attended does: it holds 0, as in fairseq.
        return x.masked_fill(tokens.padding[..., None], 0.0) if tokens.padded else x

    def run_layer(self, layer: nn.Module, x: Tensor, tokens: Tokens) -> Tensor:
        mask = ~tokens.padding[:, None, None] if tokens.padded else None  # B, 1, 1, L: true where attended
        out = layer(x, attention_mask=mask)
        return out[0] if isinstance(out, tuple) else out

    def sentence_state(self, x: Tensor, tokens: Tokens) -> Tensor:
        return x[:, 0]

    @torch.inference_mode()
    def _check_as_a_whole(self) -> None:
        """Refuses an encoder whose own forward pass does more than embed and run its layers.

        Relative positions (MPNet, DeBERTa), say, are passed from the encoder to its layers; run one by one,
        these would silently compute something else.
        """
        was_training = self.training
        self.eval()
        tokens = Tokens.from_ids(torch.arange(10, 15)[None])
        x = self.embed(tokens)
        for stage in range(len(self._groups)):
            x = self.run_stage(stage, x, tokens)
        whole = self.model(input_ids=tokens.ids).last_hidden_state  # 1, L, Ct
        if x.shape != whole.shape or not torch.allclose(x, whole, rtol=1e-3, atol=1e-4):
            raise UserError(
                f"model.text_encoder.name={self.config.name}: run layer by layer, "
                f"{type(self.model).__name__} doesn't compute what it does as a whole, so it can't run "
                "beside the vision stages; choose BERT, RoBERTa or their like"
            )
        self.train(was_training)


@TEXT_ENCODERS.register("clip")
class ClipTextEncoder(StagedTextEncoder):
    """CLIP's text tower through open_clip; the sentence state is the normalised end-of-text token."""

    model: TextTransformer

    def __init__(self, config: TextEncoderConfig) -> None:
        model = build_clip_text_tower(config)
        super().__init__(config, model, model.width)

    @property
    def positions(self) -> int | None:
        return len(self.model.positional_embedding)

    @property
    def layers(self) -> nn.ModuleList:
        return self.model.transformer.resblocks

    @property
    def linears(self) -> list[Place]:
        places: list[Place] = []
        for index, layer in enumerate(self.layers):
            places += attention_places(layer.get_submodule("attn"), f"{index}.attn")
            places += linear_places(layer.get_submodule("mlp"), f"{index}.mlp", "mlp")
        return places

    @property
    def mlps(self) -> list[Place]:
        return [
            Place(f"{index}", "mlp", self.width, self.width, beside(layer.get_submodule("mlp")))
            for index, layer in enumerate(self.layers)
        ]

    def embed(self, tokens: Tokens) -> Tensor:
        return self.model.token_embedding(tokens.ids) + self.model.positional_embedding[: tokens.ids.shape[1]]

    def run_layer(self, layer: nn.Module, x: Tensor, tokens: Tokens) -> Tensor:
        length, mask = x.shape[1], self.model.attn_mask
        assert mask is not None  # causal, and padding comes last: no real token ever sees it
        return layer(x, attn_mask=mask[:length, :length].to(x.dtype))

    def sentence_state(self, x: Tensor, tokens: Tokens) -> Tensor:
        last = (~tokens.padding).sum(1) - 1
        return self.model.ln_final(x[torch.arange(len(x), device=x.device), last])


def build_text_encoder(config: TextEncoderConfig) -> StagedTextEncoder:
    """Builds the encoder that ``config.family`` names."""
    return TEXT_ENCODERS.find(config.family)(config)
