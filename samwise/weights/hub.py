"""The methods of the Hugging Face hub: ``from_pretrained``, ``save_pretrained`` and ``push_to_hub``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin

from samwise.io import write_json
from samwise.modeling.samwise import Samwise as Network
from samwise.weights.checkpoint import load_checkpoint, trained_state, write_checkpoint
from samwise.weights.finding import FROZEN, WEIGHTS, find_checkpoint
from samwise.weights.frozen import frozen_identity, frozen_state, write_frozen


class Samwise(
    Network,
    ModelHubMixin,
    library_name="samwise",
    tags=["referring-video-segmentation", "sam2"],
    paper_url="https://arxiv.org/abs/2411.17646",
):
    """The network of samwise/modeling/samwise.py with the hub's methods; its folders hold what trains."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path | None = None,
        *,
        overrides: Sequence[str] = (),
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **options: Any,
    ) -> Samwise:
        """Loads a network with its weights, in eval mode, on the CPU.

        Args:
            pretrained_model_name_or_path: A ``.safetensors`` file, a training run's folder, a folder from
                ``save_pretrained``, a name from the zoo (``mevis``, ``ytvos``, ``refcoco``: fetched the
                first time), or that of a repository on the hub. None for the small default.
            overrides: Changes to its config, such as ``["model.backbone.checkpoint=sam2_hiera_large.pt"]``
                if the frozen weights are elsewhere.
            force_download: As in the hub's own ``from_pretrained``; so are the others.
            token: Access token of the hub.
            cache_dir: Where downloads are kept.
            local_files_only: Don't ask the hub; take what an earlier download left.
            revision: Branch, tag or commit.
            **options: There are none; an unknown one is an error.

        Raises:
            UserError: There is no such checkpoint, or it doesn't fit the frozen weights at hand.
        """
        if options:
            raise TypeError(f"from_pretrained() got unexpected arguments {', '.join(options)}")
        checkpoint = find_checkpoint(
            pretrained_model_name_or_path,
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            revision=revision,
        )
        return load_checkpoint(checkpoint, overrides=overrides, network=cls)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Writes the trained part, with config and identity of the frozen part, into a folder.

        Frozen weights that can't be had again from where the config says (random ones, and the file beside a
        converted checkpoint) are written too.
        """
        config, identity = self.config.copy(), frozen_identity(self)
        kept = [part for part in self.config.frozen_parts if not _published(getattr(config, part))]
        for part in kept:
            getattr(config, part).checkpoint = FROZEN
        if kept:
            write_frozen(save_directory / FROZEN, frozen_state(self, kept), {p: identity[p] for p in kept})
        else:
            (save_directory / FROZEN).unlink(missing_ok=True)
        write_checkpoint(save_directory / WEIGHTS, trained_state(self), config, identity)
        write_json(save_directory / "config.json", config.to_dict())


def _published(part: Any) -> bool:
    """Whether a part's config names weights that others can get: not random ones, not a file of ours."""
    if part.checkpoint:
        return not part.checkpoint.endswith(FROZEN)
    return getattr(part, "pretrained", False)
