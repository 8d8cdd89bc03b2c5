"""The frozen parts' published weights: where they come from, where they go, and fetching them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samwise.encoders.part_files import local_only
from samwise.errors import UserError, first_line

TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "config.json")


@dataclass(frozen=True)
class Weights:
    """Weights of a backbone or a text encoder.

    Attributes:
        name: Name of the file in ``configs/backbone`` or ``configs/text_encoder``.
        repository: Where they are on the Hugging Face hub.
        target: Where they go in ``checkpoints/``: a file, or a folder of several.
        setting: The override that uses them, up to the path.
    """

    name: str
    repository: str
    target: str
    setting: str

    @property
    def folder(self) -> str:
        """The folder in ``checkpoints/`` that the repository's files go to; empty for that folder itself."""
        target = Path(self.target)
        return str(target.parent if target.suffix else target)


def _sam2(name: str, family: str, size: str) -> Weights:
    setting = f"backbone={name} model.backbone.checkpoint="
    file = f"{family}_hiera_{size.replace('-', '_')}.pt"
    return Weights(name, f"facebook/{family}-hiera-{size}", file, setting)


def _text(name: str, repository: str, target: str) -> Weights:
    return Weights(name, repository, target, f"text_encoder={name} model.text_encoder.checkpoint=")


_SIZES = {"t": "tiny", "s": "small", "b+": "base-plus", "l": "large"}
_CLIP_FILE = "open_clip_model.safetensors"
WEIGHTS: dict[str, Weights] = {
    weights.name: weights
    for weights in (
        *(_sam2(f"hiera_{k}", "sam2", size) for k, size in _SIZES.items()),
        *(_sam2(f"sam2.1_hiera_{k}", "sam2.1", size) for k, size in _SIZES.items()),
        _text("roberta_base", "FacebookAI/roberta-base", "roberta-base"),
        _text("roberta_large", "FacebookAI/roberta-large", "roberta-large"),
        _text("minilm", "sentence-transformers/all-MiniLM-L6-v2", "minilm"),
        _text("bert", "google-bert/bert-base-uncased", "bert-base-uncased"),
        _text("clip_b16", "timm/vit_base_patch16_clip_224.openai", f"clip_b16/{_CLIP_FILE}"),
        _text("clip_b32", "timm/vit_base_patch32_clip_224.openai", f"clip_b32/{_CLIP_FILE}"),
        _text("clip_l14", "timm/vit_large_patch14_clip_224.openai", f"clip_l14/{_CLIP_FILE}"),
    )
}


def fetch(weights: Weights, folder: Path) -> Path:
    """Fetches weights into a folder, resuming where an earlier attempt stopped. Existing files stay.

    Args:
        weights: An entry of ``WEIGHTS``.
        folder: Usually ``checkpoints``.

    Returns:
        The file or folder.

    Raises:
        UserError: They can't be fetched; the message says what to put where by hand.
    """
    target = folder / weights.target
    if target.is_file():
        return target
    wanted = [target.name] if target.suffix else ["model.safetensors", *TOKENIZER_FILES]
    from_hub(weights.repository, folder / weights.folder, wanted)
    if target.suffix and not target.is_file():
        raise UserError(
            f"{weights.name}: {weights.repository} on the Hugging Face hub holds no {target.name}"
        )
    return target


def from_hub(repository: str, folder: Path, patterns: Sequence[str]) -> None:
    """Fetches a repository's files into a folder, resuming where an earlier attempt stopped.

    Args:
        repository: Its name on the hub. ``HF_ENDPOINT`` names a mirror of the hub.
        folder: Where the files go.
        patterns: Which of them.

    Raises:
        UserError: The hub is out of reach or refuses; the message says what to do by hand.
    """
    from huggingface_hub import snapshot_download

    by_hand = (
        f"Without a network: fetch {' '.join(patterns)} from https://huggingface.co/{repository} elsewhere, "
        f"and put those that exist into {folder}"
    )
    if local_only(repository):
        raise UserError(f"can't reach the Hugging Face hub for {repository}. {by_hand}")
    try:
        snapshot_download(repository, allow_patterns=list(patterns), local_dir=folder)
    except Exception as error:  # the hub's client raises a dozen kinds
        raise UserError(
            f"the Hugging Face hub doesn't give {repository} ({first_line(error)[:160]}). {by_hand}"
        ) from error
