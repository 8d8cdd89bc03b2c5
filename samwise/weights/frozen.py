"""The frozen part of a network: its identity, and the file it can be kept in.

A checkpoint holds what trains. SAM 2 and the text encoder, if frozen, stay outside: usually as their
publishers' files, else (released SAMWISE checkpoints carry their own copy) in one safetensors file beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from samwise.encoders.part_files import only_for_object_scores
from samwise.io import atomic_path

if TYPE_CHECKING:
    from samwise.modeling.samwise import Samwise

IDENTITY_KEY = "samwise_frozen"
EXTRA = "released/"  # in front of what belongs to no parameter of ours but must be kept

# Hashing 200 million parameters takes seconds and training saves often: by module, a fingerprint and digests.
_DIGESTS: WeakKeyDictionary[nn.Module, tuple[list[tuple[int, int]], dict[bool, str]]] = WeakKeyDictionary()


def frozen_identity(model: Samwise) -> dict[str, str]:
    """SHA-256 of each frozen part's weights, so that trained weights aren't put beside other frozen ones.

    Without object scores, what only they need doesn't count. Remembered for each module until one of its
    tensors is replaced or written to.
    """
    scores = model.config.object_scores
    return {part: _remembered_digest(getattr(model, part), scores) for part in model.config.frozen_parts}


def is_frozen_part(model: Samwise, part: str, wanted: str) -> bool:
    """Whether a frozen part has this identity, with or without what only object scores need."""
    return any(_remembered_digest(getattr(model, part), scores) == wanted for scores in (True, False))


def _remembered_digest(module: nn.Module, object_scores: bool) -> str:
    state = module.state_dict(keep_vars=True)
    # Inference tensors have no version counter; nothing can be written to them outside inference mode.
    fingerprint = [
        (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in state.values()
    ]
    remembered = _DIGESTS.get(module)
    if remembered is None or remembered[0] != fingerprint:
        remembered = _DIGESTS[module] = (fingerprint, {})
    found = remembered[1]
    if object_scores not in found:
        counted = {k: x for k, x in state.items() if object_scores or not only_for_object_scores(k)}
        same = len(counted) == len(state) and found
        found[object_scores] = next(iter(found.values())) if same else digest(counted)
    return found[object_scores]


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of a state dict's names and values."""
    found = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        found.update(name.encode())
        found.update(as_bytes(tensor).numpy().data)
    return found.hexdigest()


def as_bytes(tensor: Tensor) -> Tensor:
    """The values of a tensor of any type as (n,) uint8."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    # a single element can count as contiguous with any stride
    flat = flat if flat.stride(0) == 1 else flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8)


def frozen_state(model: Samwise, parts: Iterable[str]) -> dict[str, Tensor]:
    """Parameters and buffers of the given parts, as far as the network uses them."""
    frozen, scores = tuple(f"{part}." for part in parts), model.config.object_scores
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name.startswith(frozen) and (scores or not only_for_object_scores(name))
    }


def write_frozen(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    identity: Mapping[str, str],
    extra: Mapping[str, Tensor] | None = None,
) -> None:
    """Writes frozen parts into one safetensors file, atomically.

    Args:
        path: The file; ``model.backbone.checkpoint`` and ``model.text_encoder.checkpoint`` can name it.
        tensors: Their state, from ``frozen_state``.
        identity: From ``frozen_identity``.
        extra: Tensors of a released checkpoint that no parameter of ours holds.
    """
    tensors = {**tensors, **{EXTRA + name: tensor for name, tensor in (extra or {}).items()}}
    metadata = {IDENTITY_KEY: json.dumps(dict(identity))}
    save_tensors(path, tensors, metadata)


def write_half(path: str | Path, prefix: str, state: Mapping[str, Tensor]) -> None:
    """Writes a part's weights rounded to float16, which halves the file; loading gives the rounded ones.

    Args:
        path: As in ``write_frozen``.
        prefix: Of their names there, such as ``backbone.sam2.``.
        state: The part's own state.
    """
    tensors = {prefix + name: x.half() if x.is_floating_point() else x for name, x in state.items()}
    write_frozen(path, tensors, {})


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file, atomically, with the permissions of any other new file."""
    # clone: safetensors refuses tensors that share memory
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # safetensors makes files that nobody else in a lab can read
        save_file(copies, temporary, metadata)
        temporary.chmod(mode)
