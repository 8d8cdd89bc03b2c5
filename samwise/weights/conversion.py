"""Converting the authors' checkpoint files to ours, and back."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from omegaconf import OmegaConf
from torch import Tensor

from samwise.config.composing import CONFIG_DIR
from samwise.config.network import SamwiseConfig
from samwise.config.parts import BackboneConfig, TextEncoderConfig
from samwise.encoders.part_files import only_for_object_scores, read_tensors
from samwise.encoders.pickled import load_pickled
from samwise.encoders.sam2_backbone import Sam2Backbone
from samwise.encoders.text_encoder import build_text_encoder
from samwise.errors import UserError
from samwise.io import atomic_path, parse_json
from samwise.weights.checkpoint import load_checkpoint, read_checkpoint, write_checkpoint
from samwise.weights.frozen import EXTRA, as_bytes, digest, write_frozen
from samwise.weights.released import to_ours, to_released
from samwise.weights.released_names import EMBEDDING, LM_HEAD, TYPES, our_name, released_names
from samwise.weights.skeleton import shapes_of, skeleton

C = TypeVar("C")
_CME = "conditional_memory_encoder."
ARGS_KEY, ABSENT_KEY = "released_args", "released_absent"


@dataclass
class Conversion:
    """What a conversion did.

    Attributes:
        config: The network the file was found to hold.
        tokens: Longest sentence it takes, in tokens with the special ones.
        trained: Number of parameters in the checkpoint.
        frozen_file: The file with the frozen weights, or None if all of them are the given base weights.
        checked: Parts found equal to the given base weights, bit for bit, and left out.
        left_out: Released names without a place in the network, with reasons.
        dropped: Other entries of the file, such as the optimizer's state.
    """

    config: SamwiseConfig
    tokens: int | None
    trained: int
    frozen_file: Path | None
    checked: list[str]
    left_out: dict[str, str]
    dropped: list[str]

    @property
    def stage(self) -> str:
        """Which of the authors' trainings wrote the file."""
        return "finetuned on videos" if self.config.object_scores else "image pretraining"


def convert(source: str | Path, target: str | Path, config: SamwiseConfig) -> Conversion:
    """Writes a released file as a checkpoint of ours.

    The trained part goes to ``target``. Frozen weights for which ``config`` names a file (or ``pretrained``)
    must be equal to it and are left out; the others go to ``<target>.frozen.safetensors`` beside it.

    Args:
        source: The authors' file, ``{"model": ..., "args": ...}`` or the bare state dict.
        target: A ``.safetensors`` file.
        config: The network to start from; switches, widths, backbone and text encoder follow the file.

    Raises:
        UserError: The file isn't such a checkpoint, would run code, or differs from the given base weights.
    """
    target = Path(target)
    if target.suffix != ".safetensors":
        raise UserError(f"{target}: give the converted checkpoint a name that ends in .safetensors")
    content = load_pickled(source)
    released = _state_dict(content, source)
    args = _plain(vars(content["args"])) if isinstance(content.get("args"), Namespace) else {}
    config = config_of(released, config)
    model = skeleton(config)
    # The embedding is what is used; in files that a training wrote the language-model head is a copy of it.
    tied = {LM_HEAD: released[EMBEDDING]} if EMBEDDING in released and LM_HEAD in released else {}
    state, left_out = to_ours({**released, **tied}, model)
    if not config.object_scores:
        untrained = [name for name in left_out if name.startswith(_CME)]
        left_out |= dict.fromkeys(untrained, "untrained: image pretraining has a CME but never uses it")
    wanted = model.state_dict()
    state = {name: state[name].to(x.dtype) for name, x in wanted.items() if name in state}

    checked = _check_base(config, state, source)
    parts = [part for part in model.config.frozen_parts if part not in checked]
    frozen_file = target.with_name(f"{target.stem}.frozen.safetensors") if parts else None
    for part in parts:
        getattr(config, part).checkpoint = frozen_file.name if frozen_file else None
    back = to_released(state)
    frozen = {name: x for name, x in state.items() if name.startswith(tuple(f"{p}." for p in parts))}
    extra = {name: x for name, x in released.items() if name not in back or not _same(back[name], x)}
    identity = {part: digest(_part(state, part)) for part in model.config.frozen_parts}
    metadata = {
        ARGS_KEY: json.dumps(args),
        ABSENT_KEY: json.dumps(
            sorted({x for name in wanted for x in released_names(name)} - released.keys())
        ),
    }
    trained = {name: x for name, x in state.items() if name.split(".")[0] not in identity}
    if frozen_file:
        write_frozen(frozen_file, frozen, {p: identity[p] for p in parts}, extra)
    write_checkpoint(target, trained, config, identity, metadata)
    dropped = (
        sorted(str(key) for key in content if key not in ("model", "args")) if "model" in content else []
    )
    parameters = dict(model.named_parameters())
    count = sum(x.numel() for name, x in trained.items() if name in parameters)
    tokens = model.text_encoder.longest_sentence
    return Conversion(config, tokens, count, frozen_file, checked, left_out, dropped)


def convert_back(source: str | Path, target: str | Path) -> int:
    """Writes a checkpoint of ours in the authors' form; returns the number of tensors.

    Raises:
        UserError: The checkpoint or its frozen weights are missing, or the form has no place for a part.
    """
    _, metadata = read_checkpoint(source)
    model = load_checkpoint(source, finite=False)
    adapter, state = model.config.adapter, model.state_dict()
    if adapter.enabled and adapter.hsa and adapter.spatial_embedding != "learned":
        raise UserError(
            f"{source} can't be written in the released form: its HSA has a sine embedding "
            "(model.adapter.spatial_embedding), and that form has only learned ones"
        )
    if not model.config.object_scores:  # as in the authors' image pretrainings
        state = {name: x for name, x in state.items() if not only_for_object_scores(name)}
    released = to_released(state)
    for name in _json(metadata, ABSENT_KEY, list, source):
        released.pop(name, None)
    frozen_file = model.config.backbone.checkpoint or model.config.text_encoder.checkpoint
    if frozen_file and frozen_file.endswith(".safetensors"):
        released |= read_tensors(frozen_file, EXTRA)
    content = {"model": released, "args": Namespace(**_json(metadata, ARGS_KEY, dict, source))}
    with atomic_path(target) as temporary:
        torch.save(content, temporary)
    return len(released)


def _json(metadata: dict[str, str], key: str, kind: type[C], source: str | Path) -> C:
    """An entry of the metadata; empty if there is none."""
    try:
        value = parse_json(metadata[key]) if key in metadata else kind()
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise UserError(
            f"{source}: its metadata '{key}' isn't what a conversion writes; convert the file again"
        )
    return value


def _state_dict(content: dict[str, Any], source: str | Path) -> dict[str, Tensor]:
    state = content.get("model", content)
    if not isinstance(state, dict) or not state or not all(isinstance(x, Tensor) for x in state.values()):
        raise UserError(f"{source} holds no state dict under 'model'; is it a released SAMWISE checkpoint?")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def config_of(released: dict[str, Tensor], config: SamwiseConfig) -> SamwiseConfig:
    """The network that a released state dict belongs to: switches and widths by names and shapes.

    A file without what object scores need comes from image pretraining. The CME in such a file is untrained,
    and left out.

    Args:
        released: Name -> tensor, without ``module.``.
        config: What the names can't say (the canvas, ...), and the first guess for the encoders.

    Raises:
        UserError: No registered backbone or text encoder has these shapes.
    """
    config = config.copy()
    adapter = config.adapter
    down = released.get("cmt_adapters.0.proj_vis_down.0.weight")
    adapter.enabled = down is not None
    adapter.hsa, adapter.vta, adapter.tva = (
        any(part in name for name in released) for part in (".hsa.self_attn.", ".ca_V2T.", ".ca_T2V.")
    )
    if down is not None:
        adapter.dim = down.shape[0]
    spatial = [released.get(f"cmt_adapters.{k}.spatial_pos_embed") for k in range(3)]
    if adapter.hsa and all(x is not None for x in spatial):
        adapter.patch_sizes = [round(x.shape[-2] ** 0.5) for x in spatial if x is not None]
        adapter.spatial_embedding = "learned"
    config.object_scores = config.object_scores and any(map(only_for_object_scores, released))
    has_cme = any(name.startswith(_CME) for name in released)
    config.cme.enabled = has_cme and config.object_scores
    config.cme.policy = "learned" if config.cme.enabled else "never"
    config.prompt.motion = False
    config.backbone = _fitting_backbone(released, config)
    config.text_encoder = _fitting_text_encoder(released, config)
    return SamwiseConfig.from_node(config.to_dict())


def _fitting_backbone(released: dict[str, Tensor], config: SamwiseConfig) -> BackboneConfig:
    shapes = {
        our_name(name): x.shape
        for name, x in released.items()
        if name.startswith("sam.") and ".project_text." not in name
    }
    for candidate in (config.backbone, *_registered("backbone", BackboneConfig)):
        trial = replace(candidate, checkpoint=None, trainable=False)
        wanted = {f"backbone.{name}": x for name, x in shapes_of(Sam2Backbone, trial, config.canvas).items()}
        if not config.object_scores:
            wanted = {name: shape for name, shape in wanted.items() if not only_for_object_scores(name)}
        if shapes == wanted:
            return replace(trial, checkpoint=config.backbone.checkpoint)
    raise UserError(_fits_none("SAM 2", "backbone"))


def _fitting_text_encoder(released: dict[str, Tensor], config: SamwiseConfig) -> TextEncoderConfig:
    named = {our_name(name): x.shape for name, x in released.items() if name.startswith("text_encoder.")}
    shapes = {name: shape for name, shape in named.items() if name is not None}
    given = config.text_encoder
    for candidate in (given, *_registered("text_encoder", TextEncoderConfig)):
        if candidate.family != "roberta":
            continue
        trial = replace(candidate, checkpoint=None, pretrained=False, trainable=False)
        found = {f"text_encoder.{name}": x for name, x in shapes_of(build_text_encoder, trial).items()}
        if shapes == {name: shape for name, shape in found.items() if name != TYPES}:
            tokenizer = given.tokenizer or candidate.tokenizer
            return replace(
                trial, checkpoint=given.checkpoint, pretrained=given.pretrained, tokenizer=tokenizer
            )
    raise UserError(_fits_none("text encoder", "text_encoder"))


def _registered(group: str, kind: type[C]) -> list[C]:
    """The configs of a group's files, without those that build on another one: these have its sizes."""
    nodes = [OmegaConf.load(path) for path in sorted((CONFIG_DIR / group).glob("*.yaml"))]
    return [
        kind(**cast("dict[str, Any]", OmegaConf.to_container(node)))
        for node in nodes
        if "defaults" not in node
    ]


def _fits_none(what: str, group: str) -> str:
    names = ", ".join(sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml")))
    way_out = f"+model.{group}.overrides.KEY=VALUE"
    return f"the file's {what} has the shapes of none of {names}; give its sizes with {way_out}"


def _check_base(config: SamwiseConfig, state: dict[str, Tensor], source: str | Path) -> list[str]:
    """The parts for which base weights are given and equal to the file's, bit for bit."""
    networks = {}
    if config.backbone.checkpoint:
        networks["backbone"] = Sam2Backbone(config.backbone, config.canvas, config.object_scores)
    if config.text_encoder.checkpoint or config.text_encoder.pretrained:
        networks["text_encoder"] = build_text_encoder(config.text_encoder)
    for part, network in networks.items():
        ours = _part(state, part)
        for name, tensor in network.state_dict().items():
            if name in ours and not _same(tensor, ours[name]):
                raise UserError(
                    f"{source} holds other {part} weights than model.{part} names ('{name}' differs): name "
                    "the right ones, or none to keep the file's own"
                )
    return list(networks)


def _part(state: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    start = f"{part}."
    return {name.removeprefix(start): x for name, x in state.items() if name.startswith(start)}


def _same(a: Tensor, b: Tensor) -> bool:
    """Bit for bit, NaN included."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.data_ptr() == b.data_ptr() and a.stride() == b.stride():
        return True
    return torch.equal(as_bytes(a), as_bytes(b))


def _plain(value: Any) -> Any:
    """What JSON can hold; anything else as text."""
    if isinstance(value, dict):
        return {str(key): _plain(x) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
