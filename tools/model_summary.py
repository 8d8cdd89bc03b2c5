"""Parameters of a network, in all and by part, counted without building its weights:

``python tools/model_summary.py model=roberta_hiera_b+`` or, for a line per preset, ``models=all``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from samwise.config.composing import compose_model, model_names
from samwise.config.network import SamwiseConfig
from samwise.running.cli import program

if TYPE_CHECKING:
    from samwise.weights.skeleton import PartSize


@program("model_summary")
def main(cfg: DictConfig) -> None:
    """Prints the table."""
    from samwise.io import write_json
    from samwise.tables import markdown_table

    rows = by_preset(cfg.models) if cfg.models else by_part(SamwiseConfig.from_node(cfg.model))
    print(markdown_table(rows))
    if cfg.output:
        write_json(cfg.output, rows)


def by_part(config: SamwiseConfig) -> list[dict[str, Any]]:
    """A line for each part of a network, and the sums that the paper gives."""
    from samwise.weights.skeleton import part_sizes, skeleton

    sizes = part_sizes(skeleton(config))
    rows = [{"part": part.name, "total": part.total, "trainable": part.trainable} for part in sizes]
    new = [part for part in sizes if part.name not in ("backbone", "text encoder")]
    for label, without in (("adapters and contextual prompt", ("CME", "motion prompt")), ("all", ())):
        kept = [part for part in (sizes if label == "all" else new) if part.name not in without]
        rows.append({"part": f"= {label}", **_sums(kept)})
    return rows


def by_preset(names: Any) -> list[dict[str, Any]]:
    """A line for each preset."""
    from samwise.progress import progress
    from samwise.weights.skeleton import part_sizes, skeleton

    rows = []
    chosen = model_names() if names == "all" else [names] if isinstance(names, str) else list(names)
    configs = {name: compose_model(name) for name in chosen}
    for name, config in progress(configs.items(), desc="models", unit="model"):
        sizes = part_sizes(skeleton(config))
        by_name = {part.name: part.total for part in sizes}
        parts = ("backbone", "text encoder", "adapters", "contextual prompt", "motion prompt", "CME")
        rows.append({"model": name, **_sums(sizes), **{part: by_name.get(part, 0) for part in parts}})
    return rows


def _sums(sizes: Sequence[PartSize]) -> dict[str, int]:
    return {"total": sum(part.total for part in sizes), "trainable": sum(part.trainable for part in sizes)}


if __name__ == "__main__":
    main()
