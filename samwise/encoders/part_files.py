"""Files of frozen weights: where they are, here or on the hub, and reading the part that is wanted."""

from __future__ import annotations

import functools
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from safetensors import SafetensorError, safe_open

from samwise.config.composing import CONFIG_DIR
from samwise.config.parts import PARTS
from samwise.errors import UserError, first_line

if TYPE_CHECKING:  # fetching files doesn't need torch, which takes seconds to import
    from torch import Tensor, nn

# SAM 2's eight tensors that only object scores need; released image pretrainings, which have none, lack them.
_OBJECT_SCORES = re.compile(
    r"(.*\.)?(no_obj_ptr|sam_mask_decoder\.(obj_score_token|pred_obj_score_head)\..+)"
)

_SECONDS = 3.0  # to wait for the hub's first answer


def only_for_object_scores(name: str) -> bool:
    """Whether only object scores need this tensor."""
    return _OBJECT_SCORES.fullmatch(name) is not None


def read_tensors(path: str | Path, prefix: str = "") -> dict[str, Tensor]:
    """Tensors of a safetensors file whose names start with ``prefix``, without it.

    Raises:
        UserError: The file can't be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {
                name.removeprefix(prefix): file.get_tensor(name)
                for name in file.keys()
                if name.startswith(prefix)
            }
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} isn't a readable safetensors file ({error}); fetch it again") from error


def locate(weights: str) -> str:
    """Where a file of weights is: as named, or in this project, be it a checkout or an installed wheel."""
    ours = CONFIG_DIR.parent / weights
    return str(ours) if not Path(weights).exists() and ours.exists() else weights


def read_part(path: str | Path, part: str, inner: str) -> dict[str, Tensor]:
    """The weights of one frozen part.

    Args:
        path: A file of ``weights.frozen.write_frozen``, or a safetensors file that holds this part alone.
        part: ``backbone`` or ``text_encoder``.
        inner: Name of the module in it whose names are wanted, e.g. ``sam2``.

    Raises:
        UserError: The file can't be read, or is a frozen file without that part.
    """
    tensors = read_tensors(path)
    wanted = f"{part}.{inner}."
    if found := {name.removeprefix(wanted): x for name, x in tensors.items() if name.startswith(wanted)}:
        return found
    if any(name.startswith(PARTS) for name in tensors):
        raise UserError(f"{path} holds no {part} weights; name another file in model.{part}.checkpoint")
    return tensors


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], path: str | Path, key: str) -> None:
    """Loads exactly these weights.

    Raises:
        UserError: They are for another network; ``key`` names the part of the config.
    """
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise UserError(f"{path} doesn't fit {key}: {str(error).splitlines()[1].strip()}") from error


def local_only(name: str) -> bool:
    """Whether to look for ``name`` on this machine only: it is a folder here, or the hub is out of reach."""
    return Path(name).exists() or not _hub_reachable()


@contextmanager
def loading(what: str, way_out: str) -> Iterator[None]:
    """Turns whatever transformers, open_clip or the hub's client raises into one sentence."""
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)[:200]}"
        raise UserError(f"can't load {what} ({reason}){way_out}") from error


@functools.cache
def _hub_reachable() -> bool:
    """Asked once: without a network the hub's client tries for minutes."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # the proxy decides
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname or "", port), _SECONDS).close()
    except (OSError, ValueError):
        return False
    return True
