"""What ``checkpoint=`` may name: a file, a run's folder, a name of the zoo, a repository on the hub."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from samwise.encoders.part_files import locate
from samwise.errors import UserError
from samwise.weights.zoo import obtain, zoo

DEFAULT = "checkpoints/default.safetensors"  # the small default, in the checkout or the wheel
WEIGHTS, FROZEN = "model.safetensors", "frozen.safetensors"  # in a folder of ``save_pretrained``
_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


def find_checkpoint(name: str | Path | None, **hub: Any) -> Path:
    """The checkpoint file behind a name.

    Args:
        name: A file; a training run's folder (its best checkpoint, else its newest); a name from the zoo,
            such as ``mevis``, which is fetched the first time; a repository on the hub. None for the default.
        **hub: Options of ``huggingface_hub.snapshot_download``.

    Raises:
        UserError: There is none.
    """
    path = Path(locate(str(name or DEFAULT)))
    if found := _in_folder(path):
        return found
    if str(name) in zoo():
        name = obtain(str(name))
        if found := _in_folder(Path(name)):
            return found
    if not Path(name or DEFAULT).exists() and _on_the_hub(str(name)):
        if found := _in_folder(_download(str(name), **hub)):
            return found
    raise UserError(
        f"there is no checkpoint at {name or DEFAULT}{_nearest(str(name))}; give a .safetensors file, a run "
        f"folder of scripts/train.py, or one of {', '.join(zoo())}"
    )


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, zoo(), 1)
    return f" (did you mean {near[0]}?)" if near else ""


def _in_folder(path: Path) -> Path | None:
    if path.is_file():
        return path
    newest = sorted(path.glob("checkpoints/*/model.safetensors"))
    places = (path / "best.safetensors", path / WEIGHTS, *newest[::-1])
    return next((found for found in places if found.is_file()), None)


def _on_the_hub(name: str) -> bool:
    """Whether a name that isn't a path may be a repository's; a missing file in an existing folder isn't."""
    folder = name.partition("/")[0]
    return bool(_HUB_NAME.match(name)) and folder not in ("runs", "checkpoints") and not Path(folder).is_dir()


def _download(name: str, **options: Any) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=[WEIGHTS, FROZEN, "config.json"], **options))
    except Exception as error:  # the hub's client raises a dozen kinds
        raise UserError(
            f"there is no file or folder '{name}', and the hub has no such model ({type(error).__name__}); "
            "name a .safetensors file, a run folder or a repository on the hub"
        ) from error
