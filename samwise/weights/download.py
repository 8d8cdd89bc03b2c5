"""The publishers' weights: where they come from, where they go, and fetching them so that nothing is lost."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError

from samwise.errors import UserError
from samwise.progress import progress

CHUNK = 1 << 20
_STALLED = 60  # seconds without a byte


@dataclass(frozen=True)
class Weights:
    """Weights of a backbone or a text encoder.

    Attributes:
        name: Name of the file in ``configs/backbone`` or ``configs/text_encoder``.
        source: URL below the SAM 2 server's, or repository on the Hugging Face hub.
        target: Where it goes in ``checkpoints/``: a file, or the folder of a repository.
        setting: The override that uses it, less the folder.
    """

    name: str
    source: str
    target: str
    setting: str

    @property
    def on_hub(self) -> bool:
        return not self.source.endswith(".pt")


def _sam2(name: str, version: str, file: str) -> Weights:
    return Weights(name, f"{version}/{file}", file, f"backbone={name} model.backbone.checkpoint=")


def _text(name: str, repository: str, folder: str, file: str = "") -> Weights:
    setting = f"text_encoder={name} model.text_encoder.checkpoint="
    return Weights(name, repository, f"{folder}/{file}" if file else folder, setting)


_SIZES = {"t": "tiny", "s": "small", "b+": "base_plus", "l": "large"}
_CLIP_FILE = "open_clip_model.safetensors"
WEIGHTS: dict[str, Weights] = {
    weights.name: weights
    for weights in (
        *(_sam2(f"hiera_{k}", "072824", f"sam2_hiera_{size}.pt") for k, size in _SIZES.items()),
        *(_sam2(f"sam2.1_hiera_{k}", "092824", f"sam2.1_hiera_{size}.pt") for k, size in _SIZES.items()),
        _text("roberta_base", "FacebookAI/roberta-base", "roberta-base"),
        _text("roberta_large", "FacebookAI/roberta-large", "roberta-large"),
        _text("minilm", "sentence-transformers/all-MiniLM-L6-v2", "minilm"),
        _text("bert", "google-bert/bert-base-uncased", "bert-base-uncased"),
        _text("clip_b16", "timm/vit_base_patch16_clip_224.openai", "clip_b16", _CLIP_FILE),
        _text("clip_b32", "timm/vit_base_patch32_clip_224.openai", "clip_b32", _CLIP_FILE),
        _text("clip_l14", "timm/vit_large_patch14_clip_224.openai", "clip_l14", _CLIP_FILE),
    )
}
_HUB_FILES = [
    "config.json",
    "model.safetensors",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
]


def fetch(weights: Weights, folder: Path, sam2_url: str, retries: int = 3) -> Path:
    """Fetches weights into a folder, going on where an earlier attempt stopped.

    Args:
        weights: An entry of :data:`WEIGHTS`.
        folder: Usually ``checkpoints``.
        sam2_url: Address of the SAM 2 server's folder.
        retries: Attempts before giving up; each goes on where the last one stopped.

    Returns:
        The file or folder.

    Raises:
        UserError: It can't be fetched; with what to put where by hand.
    """
    target = folder / weights.target
    by_hand = (
        f"fetch it elsewhere and put it at {target}"
        if not weights.on_hub
        else f"fetch https://huggingface.co/{weights.source} elsewhere and put its files into "
        f"{target if not target.suffix else target.parent}"
    )
    try:
        if weights.on_hub:
            return _from_hub(weights, target)
        return download(f"{sam2_url.rstrip('/')}/{weights.source}", target, retries)
    except UserError as error:
        raise UserError(f"{weights.name}: {error}. Without a network: {by_hand}") from error


def _from_hub(weights: Weights, target: Path) -> Path:
    from huggingface_hub import snapshot_download

    single = bool(target.suffix)
    patterns = [target.name] if single else _HUB_FILES
    try:
        snapshot_download(
            weights.source, allow_patterns=patterns, local_dir=target.parent if single else target
        )
    except Exception as error:  # the hub's client raises a dozen kinds
        reason = str(error).splitlines()[0][:160] if str(error) else ""
        raise UserError(
            f"can't fetch {weights.source} from the Hugging Face hub ({type(error).__name__}: {reason})"
        ) from error
    if single and not target.is_file():
        raise UserError(f"{weights.source} on the Hugging Face hub has no {target.name}")
    return target


def download(url: str, target: Path, retries: int = 3) -> Path:
    """Fetches one file over HTTP with resume: what has come is kept in ``<target>.part`` until it is whole.

    Args:
        url: Its address.
        target: The file to write; it appears when it is complete. An existing one stays as it is.
        retries: Attempts before giving up.

    Raises:
        UserError: The server can't be reached, refuses, or sends fewer bytes than it announced.
    """
    if target.is_file():
        return target
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        total = _receive_patiently(url, part, retries)
        size = part.stat().st_size
        if total is not None and size != total:
            part.unlink()
            raise UserError(f"{url}: {size:,} bytes came, {total:,} were announced; try again")
        os.replace(part, target)
    except (OSError, HTTPException) as error:
        have = part.stat().st_size if part.is_file() else 0
        kept = f"; {have:,} bytes are kept, the same command goes on from there" if have else ""
        reason = getattr(error, "reason", None) or error
        raise UserError(f"can't fetch {url} ({reason}){kept}") from error
    with suppress(OSError):
        _tag(part).unlink()
    return target


def _receive_patiently(url: str, part: Path, retries: int) -> int | None:
    for attempt in range(1, retries + 1):
        try:
            return _receive(url, part)
        except (OSError, HTTPException) as error:
            if attempt == retries or not _may_pass(error):
                raise
            time.sleep(attempt - 1)
    raise UserError(f"retries={retries} must be at least 1")


def _may_pass(error: Exception) -> bool:
    """Whether trying again can help."""
    if isinstance(error, HTTPError):
        return error.code >= 500
    return isinstance(error, (URLError, TimeoutError, ConnectionError, HTTPException))


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _receive(url: str, part: Path) -> int | None:
    """Receives what ``part`` lacks; returns the whole file's size where the server tells."""
    have = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "samwise"}
    if have:
        headers["Range"] = f"bytes={have}-"
        with suppress(OSError, ValueError, KeyError):
            # The server starts anew if the file has become another one.
            headers["If-Range"] = json.loads(_tag(part).read_text())["etag"]
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_STALLED)
    except HTTPError as error:
        if error.code == 416 and have:  # nothing is missing, or the file has become shorter
            total = error.headers.get("Content-Range", "").rpartition("/")[2]
            if total.isdigit() and int(total) == have:
                return have
            part.unlink()
            return _receive(url, part)
        raise
    with response:
        resumed = response.status == 206
        start = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        if etag := response.headers.get("ETag"):
            _tag(part).write_text(json.dumps({"etag": etag}))
        with (
            part.open("ab" if resumed else "wb") as file,
            progress(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True) as bar,
        ):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f"the connection ended after {part.stat().st_size:,} of {total:,} bytes")
    return total
