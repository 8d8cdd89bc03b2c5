"""Where the files of ``configs/`` are, and how they are composed outside Hydra's own scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from samwise.config.network import SamwiseConfig, memory_overrides
from samwise.config.registry import PRESETS, nearest, store_presets
from samwise.config.typed import require_one_of
from samwise.errors import UserError

_PACKAGE = Path(__file__).parent.parent
# Inside the package when installed from a wheel, beside it in a checkout.
CONFIG_DIR = next(path for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if path.is_dir())


def choices(group: str) -> list[str]:
    """The choices in a group: its files, and the presets without a file."""
    files = {path.stem for path in (CONFIG_DIR / group).glob("*.yaml")}
    return sorted(files.union(PRESETS) if group == "model" else files)


def with_memories(overrides: Sequence[str]) -> list[str]:
    """Overrides in which ``memory=NAME``, a file of ``configs/memory``, stands as the keys that it sets.

    Raises:
        UserError: There is no such file.
    """
    found = []
    for text in overrides:
        group, _, name = text.partition("=")
        if group == "memory":
            require_one_of("memory", name, choices("memory"))
            chosen = OmegaConf.load(CONFIG_DIR / "memory" / f"{name}.yaml")
            found += memory_overrides(OmegaConf.create({"model": {"memory": chosen}}))
        else:
            found.append(text)
    return found


def model_names() -> list[str]:
    """Names of the presets."""
    return choices("model")


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra on our tree for a moment, whoever has initialised it before (a script, or the sam2 package)."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    store_presets()
    instance = GlobalHydra.instance()
    before, instance.hydra = instance.hydra, None
    try:
        with initialize_config_dir(str(CONFIG_DIR.resolve()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = before


def compose_config(script: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Composes a script's configuration outside the script.

    Args:
        script: A file of ``configs`` without suffix, e.g. ``train``.
        overrides: Hydra overrides, as on the script's command line.

    Raises:
        UserError: An override is wrong.
    """
    from hydra import compose
    from hydra.errors import HydraException

    try:
        with _hydra():
            return compose(script, list(overrides))
    except HydraException as error:
        said = [line.strip() for line in str(error).splitlines() if "HYDRA_FULL_ERROR" not in line]
        raise UserError(
            f"can't compose configs/{script}.yaml with {list(overrides)}: {' '.join(filter(None, said))}"
        ) from error


def compose_model(name: str, overrides: list[str] | None = None) -> SamwiseConfig:
    """Composes a preset outside a script.

    Args:
        name: One of ``model_names()``.
        overrides: Hydra overrides, e.g. ``["model.adapter.hsa=false", "text_encoder=clip_b16"]``.

    Raises:
        UserError: There is no such preset, or an override is wrong.
    """
    if name not in model_names():
        raise UserError(f"there is no model '{name}'{nearest(name, model_names())}")
    config = compose_config("base", [f"model={name}", *(overrides or [])])
    return SamwiseConfig.from_node(config.model)
