"""Checkpoints with a name: the table in zoo.yaml, and fetching and converting them, once."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from samwise.config.composing import CONFIG_DIR, compose_model
from samwise.config.network import SamwiseConfig
from samwise.config.typed import typed
from samwise.errors import UserError
from samwise.io import CACHE_VARIABLE, cache_folder, read_json, write_json
from samwise.weights.download import TOKENIZER_FILES, WEIGHTS, from_hub
from samwise.weights.drive import drive_page, from_drive

_TABLE = "zoo.yaml"
_SEEN = "zoo_sha256.json"  # of the released files that were converted here
_DRIVE, _HUB = "drive:", "hub:"
_SMALL_SAM2 = "tiny_sam2.safetensors"  # all networks on it were trained on SynthRVOS
_NEEDED = 2_000_000_000  # bytes on the disk for a released file: itself (0.9 GB), and what it becomes


@dataclass(frozen=True)
class ZooEntry:
    """A checkpoint with a name: one entry of a ``zoo.yaml``.

    Attributes:
        source: ``drive:ID``, ``hub:OWNER/NAME``, or a file or folder, relative to the table's folder.
        purpose: What it is for, in a few words.
        sam2: Its SAM 2.
        text_encoder: Its text encoder.
        canvas: Side of its square canvas in pixels.
        licence: Of the weights.
        object_scores: Whether SAM 2's object scores are in it.
        figures: Benchmark -> published J&F in percent.
    """

    source: str
    purpose: str = ""
    sam2: str = ""
    text_encoder: str = ""
    canvas: int = 1024
    licence: str = ""
    object_scores: bool = True
    figures: dict[str, float] = field(default_factory=dict)


def warning_of(config: SamwiseConfig) -> str | None:
    """What to say wherever a network is used that knows only drawn shapes; None for all others."""
    if Path(config.backbone.checkpoint or "").name != _SMALL_SAM2:
        return None
    return (
        "this small network knows drawn, coloured shapes and nothing else: masks of anything else mean "
        "nothing. checkpoint=mevis gets real weights"
    )


def zoo_folder() -> Path:
    """Where fetched checkpoints are: ``checkpoints/`` of a checkout, else the user's cache."""
    project = CONFIG_DIR.parent
    if (project / "pyproject.toml").is_file() and not os.environ.get(CACHE_VARIABLE):
        return project / "checkpoints"
    return cache_folder()


def zoo() -> dict[str, ZooEntry]:
    """All checkpoints with a name: ours, and those of a ``zoo.yaml`` in ``zoo_folder()``.

    Raises:
        UserError: The user's table can't be read.
    """
    entries = _read_table(Path(__file__).with_name(_TABLE), CONFIG_DIR.parent / "checkpoints")
    own = zoo_folder() / _TABLE
    return entries | (_read_table(own, own.parent) if own.is_file() else {})


def _read_table(path: Path, base: Path) -> dict[str, ZooEntry]:
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} can't be read as YAML ({error}); correct it or move it away") from error
    if not isinstance(table, dict) or not all(isinstance(entry, dict) for entry in table.values()):
        raise UserError(f"{path} isn't a table of checkpoints: a name, and below it source: and so on")
    entries = {}
    for name, node in table.items():
        if not node.get("source"):
            raise UserError(f"{path}: '{name}' has no source: say where the checkpoint is")
        if not str(node["source"]).startswith((_DRIVE, _HUB)):
            node["source"] = str(base / Path(node["source"]).expanduser())
        try:
            entries[str(name)] = typed(ZooEntry, node, str(name))
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    return entries


def obtain(name: str) -> str | Path:
    """The checkpoint behind a name: a path, or a repository's name on the hub.

    A released file is fetched and converted the first time, without running anything in it, and kept.

    Args:
        name: One of ``zoo()``.

    Raises:
        UserError: It can't be fetched (the message has the addresses to open in a browser, and where to put
            the files), or it isn't the file that was first converted on this machine.
    """
    entry, folder = zoo()[name], zoo_folder()
    if entry.source.startswith(_HUB):
        return entry.source.removeprefix(_HUB)
    if not entry.source.startswith(_DRIVE):
        return Path(entry.source)
    target, tokenizer = folder / f"{name}.safetensors", folder / WEIGHTS["roberta_base"].folder
    if target.is_file() and _has_vocabulary(tokenizer):
        return target
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):  # a second program waits, then finds it done
        problems = [
            *_problem(lambda: target.is_file() or _make(name, entry, target)),
            *_problem(lambda: _has_vocabulary(tokenizer) or _fetch_tokenizer(tokenizer)),
        ]
    if problems:
        raise UserError("\n".join([*problems, "Then run the same command again; it resumes from there."]))
    return target


def _problem(step: Callable[[], object]) -> list[str]:
    """Why a step can't be done, so that all problems can be named at once."""
    try:
        step()
    except UserError as error:
        return [str(error)]
    return []


def _has_vocabulary(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))


def _fetch_tokenizer(folder: Path) -> None:
    from_hub(WEIGHTS["roberta_base"].repository, folder, TOKENIZER_FILES)
    if not _has_vocabulary(folder):
        raise UserError(
            f"{folder} lacks the tokenizer: tokenizer.json, or vocab.json and merges.txt, belong there"
        )


def _make(name: str, entry: ZooEntry, target: Path) -> None:
    """Fetches a released file, unless the user has put it there, and converts it."""
    released = target.with_suffix(".pth")
    fetched = not released.is_file()
    if fetched:
        _check_space(target.parent, name)
        file_id = entry.source.removeprefix(_DRIVE)
        print(f"{name}: fetching it from {drive_page(file_id)}, once", file=sys.stderr, flush=True)
        try:
            from_drive(file_id, released)
        except UserError as error:
            raise UserError(
                f"{error}. By hand: open {drive_page(file_id)} in a browser, and save the file as {released}"
            ) from error
    try:
        _convert(name, entry, released, target)
    except UserError:
        if fetched:
            released.unlink(missing_ok=True)  # so that the same command fetches it anew
        raise
    if fetched:
        released.unlink()  # tools/convert_checkpoint.py --to-reference makes it again


def _convert(name: str, entry: ZooEntry, released: Path, target: Path) -> None:
    from samwise.weights.conversion import convert

    found, seen = _sha256(released), _seen(target.parent)
    if seen.get(name, found) != found:
        raise UserError(
            f"{released} isn't the file that was first converted here as '{name}' (SHA-256 {found[:12]}..., "
            f"then {seen[name][:12]}...). If the authors have published another one, remove the line of "
            f"'{name}' from {target.parent / _SEEN}"
        )
    print(f"{name}: converting {released}; nothing in it is executed", file=sys.stderr, flush=True)
    config = compose_model("released", ["model.text_encoder.pretrained=false"])
    config.canvas = entry.canvas
    done = convert(released, target, config)
    if done.config.object_scores != entry.object_scores:
        for file in (target, done.frozen_file):
            if file:
                file.unlink()
        raise UserError(
            f"{released} is another checkpoint ({done.stage}), not '{name}'; put the right file there"
        )
    write_json(target.parent / _SEEN, {**seen, name: found})


def _seen(folder: Path) -> dict[str, str]:
    path = folder / _SEEN
    seen = read_json(path) if path.is_file() else {}
    if not isinstance(seen, dict) or not all(isinstance(x, str) for x in seen.values()):
        raise UserError(f"{path} isn't a record of checksums; remove it")
    return seen


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            found.update(block)
    return found.hexdigest()


def _check_space(folder: Path, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < _NEEDED:
        raise UserError(
            f"'{name}' needs {_NEEDED / 1e9:.1f} GB of disk for a while, and {folder} has {free / 1e9:.1f} "
            f"GB free; make room, or set {CACHE_VARIABLE} to a folder on another disk"
        )
