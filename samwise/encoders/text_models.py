"""The text networks themselves: built by transformers or open_clip, with random or published weights."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samwise.config.parts import TextEncoderConfig
from samwise.encoders.part_files import load_strictly, loading, local_only, locate, read_part
from samwise.errors import UserError
from samwise.extras import needed_for, untyped

if TYPE_CHECKING:
    from open_clip.transformer import TextTransformer
    from transformers.models.bert.modeling_bert import BertModel

_ROBERTA = {
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_MINILM = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}

# Sizes of published models (architecture, differences from its defaults), to build them without the hub.
PUBLISHED_SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta-base": ("roberta", _ROBERTA),
    "roberta-large": ("roberta", _ROBERTA | _LARGE),
    "bert-base-uncased": ("bert", {}),
    "bert-large-uncased": ("bert", _LARGE),
    "sentence-transformers/all-MiniLM-L6-v2": ("bert", _MINILM | {"num_hidden_layers": 6}),
    "sentence-transformers/all-MiniLM-L12-v2": ("bert", _MINILM),
}
_SEE = "see checkpoints/README.md"
_PLACE = f"; put it where model.text_encoder.checkpoint says; {_SEE}"


def build_bert_like(config: TextEncoderConfig) -> BertModel:
    """A BERT-like encoder of transformers: BERT, or another with ``embeddings`` and ``encoder.layer``.

    Raises:
        UserError: Its sizes or weights are missing, or its layers can't be run one by one.
    """
    if config.checkpoint:
        config = replace(config, checkpoint=locate(config.checkpoint))
        if not Path(str(config.checkpoint)).exists():
            raise UserError(f"model.text_encoder.checkpoint={config.checkpoint} doesn't exist; {_SEE}")
    architecture = _architecture(config)
    from_file = config.checkpoint is not None and Path(config.checkpoint).is_file()
    if from_file or not (config.checkpoint or config.pretrained):
        model = untyped("transformers").AutoModel.from_config(architecture, **_without_pooler(architecture))
        if from_file:
            path = str(config.checkpoint)
            load_strictly(model, read_part(path, "text_encoder", "model"), path, "model.text_encoder")
    else:
        model = _load_published(str(config.checkpoint or config.name), architecture)
    if not hasattr(model, "embeddings") or not hasattr(getattr(model, "encoder", None), "layer"):
        raise UserError(
            f"model.text_encoder.name={config.name}: {type(model).__name__} isn't BERT-like (no embeddings "
            "and encoder.layer); choose BERT, RoBERTa or one of their like"
        )
    return model


def _architecture(config: TextEncoderConfig) -> Any:
    """The transformers config (a ``PretrainedConfig``) of the network that ``config`` names."""
    auto = untyped("transformers").AutoConfig
    folder = next((p for p in (config.checkpoint, config.name) if p and Path(p).is_dir()), None)
    if folder is None and config.name in PUBLISHED_SIZES and not config.pretrained:
        kind, sizes = PUBLISHED_SIZES[config.name]
        found = auto.for_model(kind, **{**sizes, **config.overrides})
    else:
        where = folder or config.name
        with loading(f"the text encoder '{where}'", _PLACE):
            found = auto.from_pretrained(
                where, trust_remote_code=False, local_files_only=local_only(where), **config.overrides
            )
    if config.trainable and not (config.pretrained or config.checkpoint):
        found.hidden_dropout_prob = found.attention_probs_dropout_prob = 0.0
    return found


def _without_pooler(architecture: Any) -> dict[str, bool]:
    """The argument that leaves out the unused pooling layer, if the model knows it."""
    kind = untyped("transformers").AutoModel._model_mapping.get(type(architecture), None)
    known = kind is not None and "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    return {"add_pooling_layer": False} if known else {}


def _load_published(where: str, architecture: Any) -> Any:
    with loading(f"the text encoder '{where}'", _PLACE):
        model, info = untyped("transformers").AutoModel.from_pretrained(
            where,
            config=architecture,
            output_loading_info=True,
            trust_remote_code=False,
            local_files_only=local_only(where),
            **_without_pooler(architecture),
        )
    if missing := sorted(info["missing_keys"]):  # transformers only warns, and takes random ones
        raise UserError(
            f"the text encoder '{where}' lacks the weights {', '.join(missing[:3])}; fetch it again"
        )
    return model.float()  # transformers 5 keeps the file's number format


def build_clip_text_tower(config: TextEncoderConfig) -> TextTransformer:
    """CLIP's text tower through open_clip.

    Raises:
        UserError: open_clip isn't installed or doesn't know the name, or the weights are missing.
    """
    with needed_for(f"the text encoder {config.name}", "clip"):
        open_clip, parts = untyped("open_clip"), untyped("open_clip.model")

    # Only what comes with open_clip: its other names stand for configs in folders and on the hub.
    sizes = open_clip.get_model_config(config.name) if config.name in open_clip.list_models() else None
    if sizes is None:
        raise UserError(
            f"open_clip has no '{config.name}'; model.text_encoder.name is one of open_clip.list_models()"
        )
    text_sizes = {**sizes["text_cfg"], **config.overrides}
    try:
        text_config = parts.CLIPTextCfg(**text_sizes)
    except TypeError as error:
        raise UserError(f"model.text_encoder.overrides={config.overrides}: {error}") from error
    tower = parts._build_text_tower(sizes["embed_dim"], text_config, sizes.get("quick_gelu", False))
    if not hasattr(tower, "token_embedding"):
        raise UserError(
            f"model.text_encoder.name={config.name}: its text tower isn't CLIP's; set family=bert and name "
            "transformers' model"
        )
    if config.pretrained or config.checkpoint:
        _load_clip_text(tower, config)
    return tower


def _load_clip_text(tower: TextTransformer, config: TextEncoderConfig) -> None:
    open_clip = untyped("open_clip")
    if config.checkpoint and not Path(config.checkpoint).is_file():
        raise UserError(f"model.text_encoder.checkpoint={config.checkpoint} doesn't exist; {_SEE}")
    if config.checkpoint and config.checkpoint.endswith(".safetensors"):
        state = read_part(config.checkpoint, "text_encoder", "model")
        wanted = tower.state_dict().keys()
        if wanted <= state.keys():  # a frozen file of ours, or the whole CLIP as open_clip publishes it
            own = {name: state[name] for name in wanted}
            load_strictly(tower, own, config.checkpoint, "model.text_encoder")
            return
    with loading(f"CLIP's weights '{config.name}'", _PLACE):
        source = config.checkpoint or "openai"
        clip = open_clip.create_model(config.name, pretrained=source, load_weights_only=True)
    state = clip.state_dict()
    tower.load_state_dict({name: state[name] for name in tower.state_dict()}, strict=True)
