"""Checkpoints: the trained part of a network and its config, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from samwise.config.composing import CONFIG_DIR, with_memories
from samwise.config.network import SamwiseConfig, with_overrides
from samwise.config.parts import PARTS
from samwise.encoders.pickled import refuse_web_page
from samwise.errors import UserError, shown
from samwise.modeling.samwise import Samwise
from samwise.weights.frozen import IDENTITY_KEY, frozen_identity, is_frozen_part, save_tensors
from samwise.weights.metadata import CONFIG_KEY, checkpoint_config, metadata_object

N = TypeVar("N", bound=Samwise)
FORMAT_KEY = "samwise_format"
FORMAT = "1"


def trained_state(model: Samwise) -> dict[str, Tensor]:
    """Parameters and buffers of everything that trains."""
    frozen = tuple(f"{part}." for part in model.config.frozen_parts)
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(frozen)}


def save_checkpoint(model: Samwise, path: str | Path, extra: dict[str, str] | None = None) -> None:
    """Writes the trained part with its config and the identity of the frozen part, atomically.

    Args:
        model: The network.
        path: The ``.safetensors`` file.
        extra: More metadata, strings only.
    """
    write_checkpoint(path, trained_state(model), model.config, frozen_identity(model), extra)


def write_checkpoint(
    path: str | Path,
    trained: dict[str, Tensor],
    config: SamwiseConfig,
    identity: dict[str, str],
    extra: dict[str, str] | None = None,
) -> None:
    """Like ``save_checkpoint``, from trained tensors, config and the identity of the frozen parts."""
    metadata = {
        **(extra or {}),
        FORMAT_KEY: FORMAT,
        CONFIG_KEY: json.dumps(config.to_dict()),
        IDENTITY_KEY: json.dumps(identity),
    }
    save_tensors(path, trained, metadata)


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads tensors and metadata of a checkpoint.

    Raises:
        UserError: It doesn't exist, is damaged, or isn't ours.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"the checkpoint {path} doesn't exist; train one with scripts/train.py or see "
            "checkpoints/README.md"
        )
    if path.suffix in (".pth", ".pt", ".ckpt", ".bin"):
        raise UserError(
            f"{path} is a pickle; a checkpoint is a safetensors file. To convert one of the authors' files: "
            f"python tools/convert_checkpoint.py {path} {path.with_suffix('.safetensors')}"
        )
    refuse_web_page(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} isn't a readable safetensors file ({error}); fetch or train it again"
        ) from error
    if CONFIG_KEY not in metadata:
        raise UserError(
            f"{path} holds no SAMWISE config; convert released files with tools/convert_checkpoint.py"
        )
    return tensors, metadata


def load_trained(
    model: Samwise, tensors: dict[str, Tensor], metadata: dict[str, str], path: str | Path
) -> None:
    """Puts a checkpoint's trained part into a network, strictly.

    Raises:
        UserError: It was trained with another architecture or other frozen weights.
    """
    expected = trained_state(model)
    problem = _first_difference(tensors, expected)
    if problem:
        made_with = checkpoint_config(metadata, path)
        raise UserError(
            f"{path} is for another architecture (model '{made_with.name}', this network is "
            f"'{model.config.name}'): {problem}; use the config it was made with"
        )
    check_frozen(model, metadata, path)
    model.load_state_dict({**model.state_dict(), **tensors}, strict=True)


def check_frozen(
    model: Samwise, metadata: dict[str, str], path: str | Path, where_both_are_frozen: bool = False
) -> None:
    """Refuses frozen weights other than those a checkpoint was trained beside.

    Args:
        model: The network.
        metadata: The checkpoint's.
        path: What to call it.
        where_both_are_frozen: Whether to let a part pass that trains in this network.

    Raises:
        UserError: They differ; the message names both.
    """
    theirs = metadata_object(metadata, IDENTITY_KEY, path)
    for part, digest in theirs.items():
        if part not in PARTS or not isinstance(digest, str):
            raise UserError(
                f"{path} names frozen weights of {shown(part)} as {shown(digest)}; fetch or write the file "
                "again"
            )
    frozen = model.config.frozen_parts if theirs else []
    for part, digest in theirs.items():
        if part in frozen and is_frozen_part(model, part, digest):
            continue
        if part in frozen or not where_both_are_frozen:
            wanted = _weights_name(checkpoint_config(metadata, path), part)
            have = _weights_name(model.config, part) if part in frozen else "weights that train"
            found = frozen_identity(model).get(part, "-")
            raise UserError(
                f"{path} was trained beside {part} weights '{wanted}' ({digest[:12]}), this network's "
                f"{part} is '{have}' ({found[:12]}); name the same weights in model.{part}.checkpoint"
            )


def _weights_name(config: SamwiseConfig, part: str) -> str:
    """What to call a part's weights: their file, their published name, or none."""
    if checkpoint := getattr(config, part).checkpoint:
        return Path(checkpoint).name
    if part == "text_encoder" and config.text_encoder.pretrained:
        return config.text_encoder.name
    return "random weights"


def _first_difference(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            return f"it lacks '{name}'"
        if name not in expected:
            return f"'{name}' has no place here"
        if tensors[name].shape != expected[name].shape:
            return f"'{name}' is {tuple(tensors[name].shape)} there and {tuple(expected[name].shape)} here"
    return ""


def load_checkpoint(
    path: str | Path,
    device: str | torch.device = "cpu",
    overrides: Sequence[str] = (),
    finite: bool = True,
    network: type[N] = Samwise,
) -> N:
    """Builds the network a checkpoint was made with and loads it.

    Args:
        path: A file from ``save_checkpoint``.
        device: Where to put the network.
        overrides: Changes to its config, e.g. ``["model.backbone.checkpoint=sam2_hiera_base_plus.pt"]`` where
            the frozen weights aren't where they were when it was made; or ``["memory=anchored"]``.
        finite: Whether weights with NaN or infinity are refused.
        network: The class to build.

    Returns:
        The network in eval mode.

    Raises:
        UserError: The file is missing, damaged or doesn't fit the frozen weights at hand.
    """
    tensors, metadata = read_checkpoint(path)
    config = with_overrides(checkpoint_config(metadata, path), with_memories(overrides))
    for part in (config.backbone, config.text_encoder):
        part.checkpoint = _beside(part.checkpoint, Path(path))
    model = network(config)
    load_trained(model, tensors, metadata, path)
    if finite and (broken := _not_finite(model)):
        raise UserError(
            f"{path}: '{broken}' holds NaN or infinity, so its masks mean nothing; take an earlier one"
        )
    return model.to(device).eval()


def _not_finite(model: Samwise) -> str:
    """The first tensor with a value that isn't finite; empty if all are."""
    state = model.state_dict().items()
    return next((name for name, x in state if x.is_floating_point() and not bool(x.isfinite().all())), "")


def _beside(weights: str | None, checkpoint: Path) -> str | None:
    """Finds frozen weights that aren't where the config says beside the checkpoint or in ``checkpoints/``."""
    if weights is None or Path(weights).exists():
        return weights
    # In the hub's cache a file is a link to somewhere else; a run's best checkpoint may be one as well.
    beside = (checkpoint.absolute().parent, checkpoint.resolve().parent)
    folders = (*beside, Path("checkpoints"), CONFIG_DIR.parent / "checkpoints")
    places = [folder / Path(weights).name for folder in folders]
    return next((str(path) for path in places if path.exists()), weights)
