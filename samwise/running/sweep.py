"""Several jobs of one command line (``-m``): each has an output folder of its own, named by what is swept."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

_MANY = ("-m", "--multirun")
_NAMES = "hydra.job.config.override_dirname"  # how Hydra names a job by its words


def flags_first(words: Sequence[str]) -> list[str]:
    """Words with ``-m`` in front: Hydra's parser takes overrides in one piece only."""
    return sorted(words, key=lambda word: word not in _MANY)


def is_many(words: Sequence[str]) -> bool:
    """Whether a command line is for Hydra's launchers."""
    return any(word in _MANY for word in words)


def name_jobs(words: Sequence[str]) -> list[str]:
    """Words of a sweep whose jobs are named by the keys with several values; others as they are.

    Says so on standard error. Where ``output`` is one of the keys, each job has its own already.
    """
    swept, others = _keys(words) if is_many(words) else ([], [])
    if not swept or "output" in swept:
        return list(words)
    folder = "+".join(f"{key}_..." for key in sorted(swept))
    print(f"a sweep: each job has a folder of its own in output, {folder}", file=sys.stderr, flush=True)
    return [
        *words,
        f"{_NAMES}.exclude_keys=[{','.join(['output', *others])}]",
        f"{_NAMES}.item_sep=+",
        f"{_NAMES}.kv_sep=_",  # a name with = can't be typed as it is
    ]


def enter_own_folder(config: DictConfig) -> None:
    """Moves a job of a sweep into its folder in ``output``."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return
    job = HydraConfig.get().job
    if "output" in job.config.override_dirname.exclude_keys and config.get("output") and job.override_dirname:
        config.output = f"{config.output}/{job.override_dirname}"


def _keys(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The keys that have several values, and the others."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    swept, others = [], []
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException:  # a flag, or what Hydra will refuse
            continue
        (swept if override.is_sweep_override() else others).append(override.key_or_group)
    return swept, others
